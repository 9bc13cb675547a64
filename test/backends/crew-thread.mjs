// A helper of a crew that a test leads: with `call` it helps with matrices, without it counts the chunks it takes.
import { workerData } from "node:worker_threads";
import { CrewControl } from "../../dist/backends/wasm/crew/control.js";
import { Helper } from "../../dist/backends/wasm/crew/helper.js";
import { compileKernels, kernelBytes } from "../../dist/backends/wasm/kernels-module.js";

const { build, call, control, seat, counts } = workerData;
if (call) {
  compileKernels({ shared: true }); // lets old Node compile the relaxed build
  const module = new WebAssembly.Module(kernelBytes(build, true));
  new Helper(module, () => false).help(call, () => process.exit(0));
} else {
  const taken = new Int32Array(counts);
  new CrewControl(control).attend(
    seat,
    ({ args: [first, own] }, chunk) => {
      Atomics.add(taken, first + chunk, 1);
      Atomics.add(taken, own + seat, 1);
      if (taken[0] === 1) process.exit(1); // dies at its chunk
    },
    () => false,
  );
  process.exit(0);
}
