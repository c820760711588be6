// The landing page tells what this browser will run.
import { describeVariant } from 'sotto';

const line = document.getElementById('browser');
if (line) {
  try {
    line.textContent = await describeVariant();
  } catch (error) {
    line.textContent = error instanceof Error ? error.message : String(error);
  }
}
