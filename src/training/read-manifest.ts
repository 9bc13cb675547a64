// Reads and checks manifest.json of an artifacts folder: from here on it can be trusted.
import { open } from "node:fs/promises";
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import { isInnerPath } from "../safetensors/index-file.ts";
import {
  GRAPH_DTYPES,
  type GraphFile,
  type GraphValue,
  MANIFEST_VERSION,
  type Manifest,
} from "./manifest.ts";

/** A hundred thousand tensors fit. */
const MAX_BYTES = 128 * 2 ** 20;

/**
 * Reads the manifest of an artifacts folder.
 *
 * @throws UsageError when the folder holds none; SyntaxError naming the field when it is none of this version.
 */
export async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, "manifest.json");
  const file = await open(path).catch((cause: unknown) => {
    if (!(cause instanceof Error && "code" in cause && cause.code === "ENOENT")) throw cause;
    throw new UsageError(
      `Cannot read ${folder}: it has no manifest.json; name a folder that \`spectrum export\` wrote`,
    );
  });
  try {
    const { size } = await file.stat();
    if (size > MAX_BYTES)
      throw new RangeError(`Cannot read ${path}: it has ${size} bytes, expected at most ${MAX_BYTES}`);
    return parseManifest(await file.readFile("utf8"), path);
  } finally {
    await file.close();
  }
}

/**
 * Reads the manifest of artifacts that are to be run here.
 *
 * @throws UsageError when they are of the form `ort-training`; as {@link readManifest}.
 */
export async function readStandardManifest(folder: string): Promise<Manifest> {
  const manifest = await readManifest(folder);
  if (manifest.form === "standard") return manifest;
  throw new UsageError(
    `Cannot run ${folder}: it holds artifacts of the form ${manifest.form}, which ONNX Runtime's training builds train; export the model again in the form standard`,
  );
}

/**
 * Parses a manifest; `where` names it in errors.
 *
 * @throws SyntaxError naming the field that is missing or wrong.
 */
export function parseManifest(text: string, where: string): Manifest {
  let document: unknown;
  try {
    document = JSON.parse(text);
    checkManifest(document);
    return document;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new SyntaxError(`Cannot read ${where}: ${cause.message}; export the model again`, { cause });
  }
}

function checkManifest(document: unknown): asserts document is Manifest {
  const root = fieldsOf(document, "the manifest");
  expect(root.schemaVersion === MANIFEST_VERSION, "schemaVersion", `${MANIFEST_VERSION}`);
  expectString(fieldsOf(root.model, "model").id, "model.id");
  for (const file of listOf(fieldsOf(root.model, "model").files, "model.files")) {
    const { name, sizeBytes } = fieldsOf(file, "model.files[]");
    expect(typeof name === "string" && isInnerPath(name), "model.files[].name", "a path inside the folder");
    expectSize(sizeBytes, "model.files[].sizeBytes");
  }
  expect(["standard", "ort-training"].includes(String(root.form)), "form", "standard or ort-training");
  const embeddings = ["new-rows", "all", "none"];
  expect(embeddings.includes(String(root.trainEmbeddings)), "trainEmbeddings", embeddings.join(", "));
  const dtypes = ["float32", "float16", "bfloat16"];
  expect(dtypes.includes(String(root.computeDtype)), "computeDtype", "float32, float16 or bfloat16");
  expect(["none", "layers"].includes(String(root.recompute)), "recompute", "none or layers");
  const { weightsFolder } = root;
  expect(weightsFolder === null || typeof weightsFolder === "string", "weightsFolder", "a folder or null");
  expectSize(root.vocabularySize, "vocabularySize");
  expectSize(root.maxSequence, "maxSequence");
  for (const parameter of listOf(root.parameters, "parameters")) checkParameter(parameter);
  for (const token of listOf(root.addedTokens, "addedTokens")) {
    const { content, id } = fieldsOf(token, "addedTokens[]");
    expectString(content, "addedTokens[].content");
    expectSize(id, "addedTokens[].id");
  }
  for (const name of ["training", "evaluation", "optimizer"]) checkGraph(root[name], name);
  const optimizer = fieldsOf(root.optimizer, "optimizer");
  for (const name of ["beta1", "beta2", "epsilon", "weightDecay"])
    expect(
      typeof optimizer[name] === "number" && optimizer[name] >= 0,
      `optimizer.${name}`,
      "a number from 0",
    );
  expect(isPath(root.checkpoint), "checkpoint", "a path inside the folder");
}

function checkParameter(parameter: unknown): void {
  const { name, tensor, shape, decay, firstRow } = fieldsOf(parameter, "parameters[]");
  expectString(name, "parameters[].name");
  expectString(tensor, "parameters[].tensor");
  for (const side of listOf(shape, "parameters[].shape")) expectSize(side, "parameters[].shape");
  expect(typeof decay === "boolean", "parameters[].decay", "true or false");
  if (firstRow !== null) expectSize(firstRow, "parameters[].firstRow");
}

function checkGraph(graph: unknown, name: string): asserts graph is GraphFile {
  const { file, inputs, outputs } = fieldsOf(graph, name);
  expect(isPath(file), `${name}.file`, "a path inside the folder");
  for (const value of listOf(inputs, `${name}.inputs`)) checkValue(value, `${name}.inputs[]`);
  for (const value of listOf(outputs, `${name}.outputs`)) checkValue(value, `${name}.outputs[]`);
}

function checkValue(value: unknown, where: string): asserts value is GraphValue {
  const { name, dtype, shape } = fieldsOf(value, where);
  expectString(name, `${where}.name`);
  expect(
    GRAPH_DTYPES.some((name) => name === dtype),
    `${where}.dtype`,
    `one of ${GRAPH_DTYPES.join(", ")}`,
  );
  for (const side of listOf(shape, `${where}.shape`))
    if (typeof side !== "string") expectSize(side, `${where}.shape`);
}

function fieldsOf(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  throw new SyntaxError(`${where} is no object`);
}

function listOf(value: unknown, where: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new SyntaxError(`${where} is no list`);
}

function expectString(value: unknown, where: string): void {
  expect(typeof value === "string", where, "a string");
}

function expectSize(value: unknown, where: string): void {
  expect(Number.isSafeInteger(value) && Number(value) >= 0, where, "a whole number from 0");
}

function isPath(value: unknown): boolean {
  return typeof value === "string" && isInnerPath(value);
}

function expect(condition: boolean, where: string, expected: string): void {
  if (!condition) throw new SyntaxError(`${where} is missing or wrong, expected ${expected}`);
}
