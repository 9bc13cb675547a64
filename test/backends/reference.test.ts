import * as reference from "../../backends/reference/index.ts";
import { testBackend } from "./conformance.ts";

testBackend(reference);
