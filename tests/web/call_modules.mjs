// Calls functions of the page's modules: [[module, function, arguments], ...] from standard input, as JSON; their
// results to standard output. Images and other objects with `data` have typed arrays there, and plain ones here.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder] = process.argv.slice(2);
const revive = (_, value) =>
  value && value.data ? { ...value, data: value.shape ? Float32Array.from(value.data) : Uint8ClampedArray.from(value.data) } : value;
const plain = (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
const results = [];
for (const [module, name, values] of JSON.parse(readFileSync(0, "utf8"), revive)) {
  const functions = await import(pathToFileURL(`${folder}/${module}.js`));
  results.push(await functions[name](...values));
}
console.log(JSON.stringify(results, plain));
