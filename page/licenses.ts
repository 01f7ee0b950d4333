// Tells the licences of what is bundled: Vite's own list leaves out what only workers load.

import { readdirSync, readFileSync } from "node:fs";
import type { Plugin } from "vite";

interface Locked {
  version: string;
  license: string;
  dev?: boolean;
}

/** Writes the licences of all packages that are no tools into `fileName` of what is built. */
export function licenses(fileName: string): Plugin {
  return {
    name: "licenses",
    apply: "build",
    generateBundle() {
      const here = new URL("./", import.meta.url);
      const lock: { packages: Record<string, Locked> } = JSON.parse(
        readFileSync(new URL("package-lock.json", here), "utf8"),
      );
      const bundled = Object.entries(lock.packages).filter(([path, { dev }]) => path && !dev);
      const sections = bundled.map(([path, { version, license }]) => {
        const folder = new URL(`${path}/`, here);
        const texts = readdirSync(folder)
          .filter((file) => /^(licen[cs]e|copying|notice)/i.test(file))
          .sort()
          .map((file) => readFileSync(new URL(file, folder), "utf8").trim());
        return [
          `## ${path.replace(/^.*node_modules\//, "")} ${version}: ${license.replace(/^\((.*)\)$/, "$1")}`,
          ...texts,
        ].join("\n\n");
      });
      const source = ["# What the page is made of", ...sections].join("\n\n");
      this.emitFile({ type: "asset", fileName, source: `${source}\n` });
    },
  };
}
