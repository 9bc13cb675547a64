#!/usr/bin/env node
// The command `spectrum`.
import { runProgram } from "./cli/program.ts";

process.exitCode = await runProgram(process.argv.slice(2));
