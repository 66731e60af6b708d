// The data in the page: JSON in elements that no browser runs, most of it compressed.

/** What the page shows at once. @returns {any} */
export function readHead() {
  return JSON.parse(document.getElementById("head").textContent);
}

/** Decompress one pack; null where the page has none of this name. Its element is removed, so each is read once.
 * @param {string} name @returns {Promise<any>} */
export async function unpack(name) {
  const element = document.querySelector(`script.pack[id="${CSS.escape(name)}"]`);
  if (!element) return null;
  const bytes = fromBase64(element.textContent);
  element.remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Resolves when the whole document is there. */
export function documentRead() {
  return new Promise((resolve) => {
    if (document.readyState !== "loading") resolve(undefined);
    else document.addEventListener("DOMContentLoaded", () => resolve(undefined), { once: true });
  });
}

/** Resolves when the browser has nothing better to do, at the latest after 100 ms. */
export function idle() {
  return new Promise((resolve) => {
    if (window.requestIdleCallback) requestIdleCallback(() => resolve(undefined), { timeout: 100 });
    else setTimeout(resolve, 1);
  });
}

/** The packs of details, decompressed when a row of theirs is opened. */
export class Details {
  /** @param {{chunk_of?: number[]}|null} about the first row of each pack */
  constructor(about) {
    this.starts = about?.chunk_of ?? [];
    /** @type {Map<number, Promise<any>>} */
    this.packs = new Map();
  }

  /** A row's record and calls, null where the page does not have them. @param {number} row @returns {Promise<any>} */
  async of(row) {
    let low = 0;
    let high = this.starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= row) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return null;
    const pack = await this.pack(low - 1);
    return pack?.[row] ?? null;
  }

  pack(number) {
    if (!this.packs.has(number)) this.packs.set(number, unpack(`details-${number}`));
    return this.packs.get(number);
  }
}
