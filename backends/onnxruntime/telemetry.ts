// ONNX Runtime's own builds report to Microsoft which graphs they load, unless they are told not to before they are loaded.

/**
 * Turns that off, as `ORT_DISABLE_TELEMETRY=1` does: nothing is sent, and no identifier of the machine is stored. A value
 * that the user has set stays. Reaches the runtime from a process's main thread only: other threads have a copy of the
 * environment.
 */
export function refuseTelemetry(env: Record<string, string | undefined> = process.env): void {
  env.ORT_DISABLE_TELEMETRY ??= "1";
}
