// One thread of limits.ts.
import { type LimitReply, type LimitRequest, measureLimit } from './limits.js';

addEventListener('message', ({ data }: MessageEvent<LimitRequest>) => {
  const reply: LimitReply = { rate: measureLimit(data) };
  (postMessage as (message: LimitReply) => void)(reply);
});
