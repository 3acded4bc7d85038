#!/usr/bin/env node
/** The `tvmm-oci` command. */
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startOci } from './oci-start.js';

// Failures are reported where the commands run; this promise does not reject.
void startOci(dirname(fileURLToPath(import.meta.url)), process.argv.slice(2));
