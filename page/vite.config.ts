import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { licenses } from "./licenses.ts";

export default defineConfig({
  // Relative, so that the page also works below a path that a proxy adds.
  base: "./",
  plugins: [licenses("page/licenses.md")],
  assetsInclude: ["**/*.h5ad"],
  build: {
    outDir: fileURLToPath(new URL("../service/rest/page_files", import.meta.url)),
    emptyOutDir: true,
    assetsDir: "page",
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 5000,
  },
  worker: { format: "es" },
  server: { fs: { allow: [".."] } },
  test: { include: ["test/**/*.test.ts"] },
});
