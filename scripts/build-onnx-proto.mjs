// Generates src/onnx/onnx.pb.ts from ONNX's schema with buf and protoc-gen-es, both from npm.
// Run: node scripts/build-onnx-proto.mjs PATH/TO/onnx.proto   (the Python package onnx holds the file)
// Enums become constant objects: the sources allow only TypeScript whose types can be erased.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGES = ["@bufbuild/buf@1.75.0", "@bufbuild/protoc-gen-es@2.17.0", "@bufbuild/protobuf@2.17.0"];
const OUT = fileURLToPath(new URL("../src/onnx/onnx.pb.ts", import.meta.url));

/** `export enum E { A = 0, ... }` as a constant of the same members and the type of its values. */
function withoutEnums(source) {
  return source.replace(/^export enum (\w+) \{$([\s\S]*?)^\}$/gm, (_, name, body) => {
    const members = body.replace(/^( {2}\w+) = (-?\d+),$/gm, "$1: $2,");
    return `export const ${name} = {${members}} as const;\nexport type ${name} = (typeof ${name})[keyof typeof ${name}];`;
  });
}

const [proto] = process.argv.slice(2);
if (proto === undefined) throw new Error("Cannot generate: name the file onnx.proto");
const folder = mkdtempSync(join(tmpdir(), "onnx-proto-"));
try {
  copyFileSync(proto, join(folder, "onnx.proto"));
  writeFileSync(join(folder, "package.json"), "{}");
  writeFileSync(join(folder, "buf.yaml"), "version: v2\n");
  writeFileSync(
    join(folder, "buf.gen.yaml"),
    "version: v2\nplugins:\n  - local: node_modules/.bin/protoc-gen-es\n    opt: target=ts\n    out: .\ninputs:\n  - directory: .\n",
  );
  const run = (command, ...args) => execFileSync(command, args, { cwd: folder, stdio: "inherit" });
  run("npm", "install", "--silent", ...PACKAGES);
  run("npx", "buf", "generate", "--path", "onnx.proto");
  writeFileSync(OUT, withoutEnums(readFileSync(join(folder, "onnx_pb.ts"), "utf8")));
} finally {
  rmSync(folder, { recursive: true });
}
