#!/usr/bin/env node
/** The `tvmm-oci` command. */
import { startOci } from './oci-start.js';

// Failures are reported where the commands run; this promise does not reject.
void startOci(import.meta.dirname, process.argv.slice(2));
