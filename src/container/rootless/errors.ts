/** What can keep a user without root from having containers. */
import { TvmmError } from '../../sys/errors.js';

export class RootlessError extends TvmmError {}
