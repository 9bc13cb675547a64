// The environment that Python's huggingface_hub shares with us: cache folder, endpoint, token, offline mode.
// Meanings as in huggingface_hub/constants.py.
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { UsageError } from "../errors.ts";
import { nullIfMissing } from "./missing.ts";

/** Where the Hub is, where its cache is, and who asks. */
export interface HubSettings {
  /** Without a slash at its end. */
  readonly endpoint: string;
  readonly cacheFolder: string;
  readonly token: string | null;
  readonly offline: boolean;
}

/** What a caller set explicitly; it wins over the environment. */
export interface HubSettingsOptions {
  readonly endpoint?: string;
  readonly cacheDir?: string;
  readonly token?: string;
  readonly offline?: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Settles the settings from options, then the environment, then the defaults.
 *
 * @throws UsageError when the endpoint is no http(s) URL or the token cannot be one.
 */
export async function hubSettings(
  options: HubSettingsOptions = {},
  env: Environment = process.env,
): Promise<HubSettings> {
  const home = expand(
    env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface"),
    env,
  );
  const cache = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, "hub");
  return {
    endpoint: checkEndpoint(options.endpoint ?? (env.HF_ENDPOINT || "https://huggingface.co")),
    cacheFolder: options.cacheDir === undefined ? resolve(expand(cache, env)) : resolve(options.cacheDir),
    token: checkToken(options.token ?? (await implicitToken(home, env))),
    offline: options.offline ?? isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
  };
}

async function implicitToken(home: string, env: Environment): Promise<string | null> {
  if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return null;
  const stated = env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN;
  if (stated) return stated;
  return readFile(expand(env.HF_TOKEN_PATH || join(home, "token"), env), "utf8").catch(nullIfMissing);
}

function checkToken(token: string | null): string | null {
  const trimmed = token?.trim() ?? "";
  // fetch would put a token that no header can hold into the message of its error.
  if (!/^[\x21-\x7e]*$/.test(trimmed)) {
    throw new UsageError("Cannot use the Hub token: expected letters, digits and signs only; check HF_TOKEN");
  }
  return trimmed === "" ? null : trimmed;
}

function checkEndpoint(endpoint: string): string {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  if (url?.protocol !== "https:" && url?.protocol !== "http:") {
    throw new UsageError(
      `Cannot use the Hub at ${JSON.stringify(endpoint)}: expected an http(s) URL in HF_ENDPOINT`,
    );
  }
  return endpoint.replace(/\/+$/, "");
}

/** `~` and `$NAME` in a path, as a shell would read them. */
function expand(path: string, env: Environment): string {
  const fromHome = path === "~" || /^~[/\\]/.test(path) ? homedir() + path.slice(1) : path;
  return fromHome.replace(/\$(?:\{(\w+)\}|(\w+))/g, (all, braced, bare) => env[braced ?? bare] ?? all);
}

function isTrue(value: string | undefined): boolean {
  return ["1", "ON", "YES", "TRUE"].includes((value ?? "").toUpperCase());
}
