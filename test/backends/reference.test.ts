import * as reference from "../../backends/reference/index.ts";
import { testBackend } from "./conformance.ts";
import { testSvd } from "./svd-conformance.ts";

testBackend(reference);
testSvd(reference);
