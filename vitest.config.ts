import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const root = fileURLToPath(new URL(".", import.meta.url));

export default defineConfig({
  plugins: [
    {
      // Tests import the sources by name and run the built files: workers and WebAssembly as users get them.
      name: "run-built-files",
      enforce: "pre",
      resolveId(source, importer) {
        if (!source.startsWith(".") || !importer?.startsWith(`${root}test`)) return null;
        const path = fileURLToPath(new URL(source, `file://${importer}`));
        for (const folder of ["src", "backends"]) {
          const prefix = root + folder + sep;
          if (!path.startsWith(prefix) || !path.endsWith(".ts")) continue;
          const built = `${root}dist${sep}${path.slice(root.length).replace(/\.ts$/, ".js")}`;
          if (!existsSync(built))
            throw new Error(`Cannot test ${path}: ${built} is missing; run npm run build`);
          return { id: built, external: true };
        }
        return null;
      },
    },
  ],
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Neither what the user has cached decides a test, nor a test what the user's next scan does.
    env: { SPECTRUM_CACHE: mkdtempSync(join(tmpdir(), "spectrum-tests-")) },
  },
});
