import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  // Relative, so that the page also works below a path that a proxy adds.
  base: "./",
  assetsInclude: ["**/*.h5ad"],
  build: {
    outDir: fileURLToPath(new URL("../service/rest/page_files", import.meta.url)),
    emptyOutDir: true,
    assetsDir: "page",
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: "page/licenses.md" },
    chunkSizeWarningLimit: 5000,
  },
  worker: { format: "es" },
  server: { fs: { allow: [".."] } },
  test: { include: ["test/**/*.test.ts"] },
});
