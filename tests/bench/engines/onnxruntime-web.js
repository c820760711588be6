// ONNX Runtime in the page's own worker-less form: its fastest, without messages in between.
import * as ort from '/tests/bench/peers/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs';
import { runnerOf } from './onnxruntime.js';

export async function open({ url, bytes, ...model }, threads) {
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(bytes ?? url, {
    executionProviders: ['wasm'],
    graphOptimizationLevel: 'all',
  });
  return runnerOf(ort, session, model);
}
