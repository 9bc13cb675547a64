// Checks who imports whom. The rules below are the architecture; CONTRIBUTING.md draws them.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, posix, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Each part of the house, by path prefix (the longest one that fits counts), and what it may import: prefixes of
 * project paths. Its own part is always allowed.
 */
const PARTS = {
  "src/errors": [],
  "src/tool": [],
  "src/files": [],
  "src/wildcards": [],
  "src/cache-folder": [],
  "src/tensor/": ["src/errors"],
  "src/backend": ["src/tensor/", "src/errors"],
  "src/safetensors/": ["src/tensor/", "src/errors", "src/files"],
  "src/hub/": ["src/safetensors/", "src/tensor/", "src/errors", "src/files"],
  "src/modules/": ["src/tensor/", "src/hub/model", "src/errors", "src/wildcards"],
  "src/snr/": [
    "src/modules/",
    "src/hub/model",
    "src/tensor/",
    "src/backend",
    "backends/index",
    "src/errors",
    "src/files",
    "src/cache-folder",
    "src/tool",
  ],
  "src/select/": ["src/snr/", "src/modules/", "src/errors", "src/files"],
  "src/onnx/": ["src/tensor/", "src/errors"],
  "src/architectures/": ["src/onnx/", "src/tensor/", "src/errors"],
  "src/chat/": ["src/errors", "src/files", "src/wildcards"],
  "src/report/": [
    "src/snr/",
    "src/select/selection",
    "src/chat/packed-dataset",
    "src/training/evaluate",
    "src/training/trainer",
  ],
  "src/training/": [
    "src/onnx/",
    "src/architectures/",
    "src/chat/",
    "src/safetensors/",
    "src/hub/",
    "src/modules/",
    "src/select/",
    "src/snr/",
    "src/tensor/",
    "src/backend",
    "backends/index",
    "src/errors",
    "src/files",
    "src/tool",
  ],
  "src/index": ["src/", "backends/index"],
  "src/cli": ["src/index"],
  "backends/index": ["backends/", "src/backend", "src/errors", "src/cache-folder"],
  "backends/calibration/": ["src/backend", "src/errors", "src/files", "src/tool"],
  "backends/": ["src/backend", "src/tensor/", "src/errors"],
  "backends/onnxruntime/": ["src/backend", "src/tensor/", "src/errors", "src/onnx/", "backends/wasm/"],
};

/** Files that take data and return data: no Node module, hence no I/O. */
const PURE = [
  /^backends\/calibration\/choice\.ts$/,
  /^src\/snr\/(estimators|flops|marchenko-pastur|original-results|python-json)\.ts$/,
  /^src\/select\/(strategies|names|parameter-names|select|selection)\.ts$/,
  /^src\/(modules\/|wildcards\.ts$)/,
  /^src\/chat\/(?!load-|read-|packed-)/,
  /^src\/(onnx|architectures)\//,
  /^src\/report\//,
  /^src\/tensor\//,
  /^src\/safetensors\/header\.ts$/,
  /^src\/training\/(update\/(adamw|kernels|protocol|slices|cut-task)|clip|schedule|manifest|numbers)\.ts$/,
];

const IMPORT =
  /(?:^|\n)\s*(?:import|export)\s(?:[^"';]*?\sfrom\s)?["']([^"']+)["']|\bimport\(\s*["']([^"']+)["']/g;

/**
 * @param {ReadonlyMap<string, string>} sources text by project path, forward slashes
 * @returns {string[]} one sentence per violation
 */
export function violations(sources) {
  const found = [];
  const edges = new Map();
  for (const [path, text] of sources) {
    const part = partOf(path);
    if (!part) {
      found.push(
        `${path} belongs to no part of the house: move it, or add its part to scripts/architecture.mjs`,
      );
      continue;
    }
    const targets = [];
    for (const match of text.matchAll(IMPORT)) {
      const specifier = match[1] ?? match[2];
      const isType = /^\s*(?:import|export)\s+type\b/.test(match[0].replace(/^\n/, ""));
      if (!specifier.startsWith(".")) {
        const isPackage = specifier.startsWith("node:");
        if (isPackage && !isType && PURE.some((pure) => pure.test(path))) {
          found.push(`${path} imports ${specifier}: it is a pure part, which takes data and returns data`);
        }
        continue;
      }
      const target = posix.join(posix.dirname(path), specifier);
      if (!isType && match[1]) targets.push(target);
      if (!mayImport(path, part, target)) {
        found.push(`${path} imports ${target}: ${part} may import ${PARTS[part].join(", ") || "nothing"}`);
      }
    }
    edges.set(path, targets);
  }
  return [...found, ...cycles(edges)];
}

function partOf(path) {
  const fits = Object.keys(PARTS).filter((prefix) => path.startsWith(prefix));
  return fits.sort((a, b) => b.length - a.length)[0];
}

function mayImport(path, part, target) {
  // One backend is no part of another, unless the table says so: each stands in a folder of its own.
  if (part.startsWith("backends/") && part !== "backends/index") {
    const own = `${path.split("/").slice(0, 2).join("/")}/`;
    if (target.startsWith(own)) return true;
  } else if (partOf(target) === part) {
    return true;
  }
  return PARTS[part].some((prefix) => target.startsWith(prefix));
}

function cycles(edges) {
  const found = [];
  const state = new Map();
  const visit = (path, trail) => {
    if (state.get(path) === "done") return;
    if (state.get(path) === "open") {
      found.push(`Import cycle: ${[...trail.slice(trail.indexOf(path)), path].join(" -> ")}`);
      return;
    }
    state.set(path, "open");
    for (const target of edges.get(path) ?? []) visit(target, [...trail, path]);
    state.set(path, "done");
  };
  for (const path of edges.keys()) visit(path, []);
  return found;
}

function readSources(root) {
  const sources = new Map();
  for (const folder of ["src", "backends"]) {
    for (const entry of readdirSync(`${root}/${folder}`, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
      const path = `${entry.parentPath ?? entry.path}/${entry.name}`;
      sources.set(relative(root, path).split(sep).join("/"), readFileSync(path, "utf8"));
    }
  }
  return sources;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const found = violations(readSources(dirname(dirname(fileURLToPath(import.meta.url)))));
  for (const sentence of found) console.error(sentence);
  console.error(found.length === 0 ? "Architecture: every import is allowed." : `${found.length} violations`);
  process.exit(found.length === 0 ? 0 : 1);
}
