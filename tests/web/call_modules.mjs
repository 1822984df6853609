// Calls functions of the page's modules: a line [module, function, [arguments, ...]] of standard input, as JSON, is
// answered by a line with the results. Objects with `data` have typed arrays there, and plain ones here.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const revive = (_, value) => (value?.data ? { ...value, data: Uint8ClampedArray.from(value.data) } : value);
const plain = (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);

for await (const line of createInterface({ input: process.stdin })) {
  const [module, name, calls] = JSON.parse(line, revive);
  const functions = await import(pathToFileURL(`${process.argv[2]}/${module}.js`));
  console.log(JSON.stringify(calls.map((values) => functions[name](...values)), plain));
}
