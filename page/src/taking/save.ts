/** Files that the page makes. */

/** A file's name without what tells its format. */
export function stemOf(fileName: string): string {
  return fileName.replace(/(\.(h5ad|h5mu|h5|csv|tsv|mtx|zip|tgz|tar|gz))+$/i, "");
}

/** Put a file among the person's downloads. */
export function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser reads it after this turn.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
