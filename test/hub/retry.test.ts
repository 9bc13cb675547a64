import { describe, expect, it } from "vitest";
import { HubError } from "../../src/errors.ts";
import { parseRetryAfter, retrying, TransientError } from "../../src/hub/retry.ts";

const policy = { attempts: 3, firstDelayMs: 1, maxDelayMs: 5, idleTimeoutMs: 100 };
const broken = () => new TransientError("broken", { status: null });

describe("retrying()", () => {
  it("gives up after the policy's attempts, and says how many", async () => {
    let tries = 0;
    const work = () => {
      tries++;
      return Promise.reject(broken());
    };
    const error = await retrying(work, { policy }).catch((thrown: unknown) => thrown);
    expect(tries).toBe(3);
    expect(error).toBeInstanceOf(HubError);
    expect(String(error)).toContain("broken (tried 3 times); try again later");
  });

  it("goes on for as long as there is progress", async () => {
    let done = 0;
    const work = async () => {
      if (++done < 20) throw broken();
      return "whole";
    };
    expect(await retrying(work, { policy, progress: () => done })).toBe("whole");
  });

  it("does not take going over the same ground again for progress", async () => {
    let tries = 0;
    let done = 0;
    const work = async () => {
      done = 10 * (++tries % 2);
      throw broken();
    };
    await expect(retrying(work, { policy, progress: () => done })).rejects.toThrow("broken");
    expect(tries).toBeLessThan(6);
  });

  it("does not try again what cannot work", async () => {
    let tries = 0;
    const work = async () => {
      tries++;
      throw new HubError("no", { status: 404 });
    };
    await expect(retrying(work, { policy })).rejects.toThrow("no");
    expect(tries).toBe(1);
  });
});

describe("parseRetryAfter()", () => {
  it("reads seconds and dates, and nothing else", () => {
    const now = Date.parse("2025-01-01T00:00:00Z");
    expect(parseRetryAfter("7", now)).toBe(7000);
    expect(parseRetryAfter("Wed, 01 Jan 2025 00:00:05 GMT", now)).toBe(5000);
    expect(parseRetryAfter("Tue, 31 Dec 2024 00:00:00 GMT", now)).toBe(0);
    expect(parseRetryAfter("soon", now)).toBeNull();
    expect(parseRetryAfter(null, now)).toBeNull();
  });
});
