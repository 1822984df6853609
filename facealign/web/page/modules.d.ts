// For the type checker: onnxruntime-web's file as the page has it. (app.js and others lie in ../../serve/page.)
declare module "*/ort.wasm.js" {
  export * from "onnxruntime-common";
}
