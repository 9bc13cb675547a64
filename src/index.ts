// The public names, listed one by one.
export {
  BACKEND_NAMES,
  type BackendName,
  type Calibration,
  checkBackend,
  defaultCalibrationFolder,
  type Failure,
  type FastestBackend,
  type FastestBackendOptions,
  fastestBackend,
  type ListedBackend,
  listBackends,
  type OpenedBackend,
  openBackend,
  type Timing,
} from "../backends/index.ts";
export { decoderConfig } from "./architectures/architectures.ts";
export type {
  Availability,
  Backend,
  BackendEntry,
  BackendOptions,
  ComputeDType,
  MatrixSource,
  Precision,
} from "./backend.ts";
export type { SvdOptions, TruncatedSvd } from "./backend-svd.ts";
export type { Message } from "./chat/conversation.ts";
export type { PackingProgress } from "./chat/packed-dataset.ts";
export type { TemplateKind } from "./chat/template.ts";
export { BackendUnavailableError, HubError, MatrixError, UsageError } from "./errors.ts";
export type { ByteRange, Model, ModelFile, ModelTensor } from "./hub/model.ts";
export type { OpenDatasetOptions } from "./hub/open-dataset.ts";
export { type OpenModelOptions, openModel } from "./hub/open-model.ts";
export { type HubSettings, type HubSettingsOptions, hubSettings } from "./hub/settings.ts";
export type { DownloadProgress } from "./hub/snapshot.ts";
export { findModules } from "./modules/find-modules.ts";
export type { ModelModule, ModuleKind } from "./modules/module.ts";
export { type HeatMapOptions, renderHeatMap } from "./report/heat-map.ts";
export type { ColorDepth, ReportStyle } from "./report/paint.ts";
export { type DownloadState, renderDownload, renderPacking, renderProgress } from "./report/progress.ts";
export { renderSelection } from "./report/selection.ts";
export { renderSummary } from "./report/summary.ts";
export { renderTable, type TableOptions } from "./report/table.ts";
export { renderEvaluation, renderTrainingProgress } from "./report/training.ts";
export type { Dialect, DialectFile, DialectOutput } from "./select/dialects/dialect.ts";
export { DIALECTS, dialectNamed } from "./select/dialects/index.ts";
export { checkNames, type KnownNames } from "./select/names.ts";
export {
  type EmbeddingPolicy,
  type SelectOptions,
  select,
  type UnrankedModule,
  unrankedModules,
} from "./select/select.ts";
export type { SelectedModule, Selection, Strategy } from "./select/selection.ts";
export {
  type NamedParameter,
  readSelection,
  resolveParameters,
  type WriteSelectionOptions,
  type WrittenSelection,
  writeSelection,
} from "./select/selection-file.ts";
export type { Count } from "./select/strategies.ts";
export type { Estimator, ModuleResult, ResultsFile, ScanResults, SpectrumStatistics } from "./snr/results.ts";
export { SCHEMA_VERSION } from "./snr/results.ts";
export { readResults, writeResults } from "./snr/results-file.ts";
export { type ScanOptions, scan } from "./snr/scan.ts";
export type { ScanProgress } from "./snr/scan-progress.ts";
export { defaultScoreCacheFolder } from "./snr/score-cache.ts";
export { TOOL } from "./tool.ts";
export { type AnswerOptions, answer } from "./training/answer.ts";
export { type Artifacts, checkExport, exportArtifacts } from "./training/artifacts.ts";
export type { ArtifactsFolder } from "./training/artifacts-folder.ts";
export { openBaseModel } from "./training/base-model.ts";
export { openTrainingData, type TrainingData, type TrainingDataOptions } from "./training/data.ts";
export { fetchDataset } from "./training/dataset.ts";
export type { Evaluation } from "./training/evaluate.ts";
export {
  type EvaluationModel,
  type EvaluationModelOptions,
  openEvaluationModel,
} from "./training/evaluation-model.ts";
export type { ExportOptions, SelectedParameters } from "./training/export-plan.ts";
export type { GenerateOptions } from "./training/generate.ts";
export type { Manifest, TrainableParameter } from "./training/manifest.ts";
export { readManifest } from "./training/read-manifest.ts";
export { type SavedModel, type SaveModelOptions, saveModel } from "./training/save-model.ts";
export {
  type CheckTrainingOptions,
  checkTraining,
  type EvaluateDataOptions,
  evaluate,
  type TrainOptions,
  train,
} from "./training/train.ts";
export type { StepReport } from "./training/trainer.ts";
