// From the tensors and the config of a model to the list of its modules. No I/O: names and shapes only.
import { biasOf, isCompanion, isQuantisationState, moduleName, scaleOf } from "./companions.ts";
import { expertCounts, isFusedExperts } from "./fused.ts";
import { classify, type NamedTensor } from "./kind.ts";
import type { ModelModule } from "./module.ts";
import { inModelOrder } from "./order.ts";
import { parsePath } from "./path.ts";
import { modulePart, moduleType } from "./role.ts";
import { findTies, type Ties } from "./tied.ts";

/**
 * Lists every module of a checkpoint: the matrices to rank, the norms and lone biases, and what cannot be scored.
 * A tied tensor appears once, under its embedding's name; a bias or a scale appears with its weight.
 *
 * @param tensors every tensor of the checkpoint, by name
 * @param config config.json, parsed; empty when there is none
 * @returns modules in the model's own order, see {@link inModelOrder}; names are unique
 *
 * @example
 * const modules = findModules(model.tensors, model.config);
 * const ranked = modules.filter((module) => module.kind === "matrix");
 */
export function findModules(
  tensors: ReadonlyMap<string, NamedTensor>,
  config: Readonly<Record<string, unknown>>,
): readonly ModelModule[] {
  const ties = findTies(tensors, config);
  const held = new Map([...tensors].filter(([name]) => !ties.repeated.has(name)));
  const owners = [...held.values()].filter(({ name }) => !isCompanion(name, held));
  const stacks = new Set(owners.flatMap(({ name }) => parsePath(moduleName(name)).stack ?? []));
  const experts = expertCounts(config);
  const scope = { tensors: held, ties, stacks, experts };
  return inModelOrder(owners.flatMap((tensor) => modulesOf(tensor, scope)));
}

/** Far above any mixture of experts; a header that claims more must not fill the memory with modules. */
const MAX_EXPERTS = 65_536;

interface Scope {
  /** The tensors of the checkpoint without those that repeat another. */
  readonly tensors: ReadonlyMap<string, NamedTensor>;
  readonly ties: Ties;
  readonly stacks: ReadonlySet<string>;
  readonly experts: ReadonlySet<number>;
}

/** The module of a tensor, or one for each expert of a fused one. */
function modulesOf(tensor: NamedTensor, scope: Scope): ModelModule[] {
  const whole = wholeModule(tensor, scope);
  const [count = 0, ...slice] = tensor.shape;
  const fused =
    whole.kind === "matrix" && isFusedExperts(parsePath(whole.name).segments, tensor.shape, scope.experts);
  if (!fused) return [whole];
  if (count > MAX_EXPERTS) {
    return [
      {
        ...whole,
        kind: "other",
        matrix: null,
        reason: `has ${count} slices, more than ${MAX_EXPERTS} experts`,
      },
    ];
  }
  const [rows = 0, columns = 0] = slice;
  return Array.from({ length: count }, (_, expert) => ({
    ...whole,
    name: `${whole.name}[${expert}]`,
    shape: slice,
    matrix: [rows, columns],
    expert,
  }));
}

function wholeModule(tensor: NamedTensor, scope: Scope): ModelModule {
  const name = moduleName(tensor.name);
  const path = parsePath(name);
  const found = isQuantisationState(tensor.name, scope.tensors)
    ? ({ kind: "other", reason: "is part of a quantised weight" } as const)
    : classify(tensor);
  return {
    name,
    tensor: tensor.name,
    type: moduleType(name, path, scope.stacks),
    kind: found.kind,
    layer: path.layer,
    part: found.kind === "matrix" ? modulePart(path) : "body",
    shape: tensor.shape,
    matrix: found.kind === "matrix" ? found.matrix : null,
    dtype: tensor.dtype,
    expert: null,
    bias: biasOf(tensor.name, scope.tensors),
    scale: scaleOf(tensor.name, scope.tensors),
    tiedTo: scope.ties.heads.get(tensor.name) ?? null,
    reason: found.kind === "other" ? found.reason : null,
  };
}
