// Asks a planmesh gateway for the cheapest path and prints it.
//
//   npm ci
//   node client.mjs [--address 127.0.0.1:50051] [--graph NAME] [--timeout SECONDS] Lisbon Oslo
//
// proto-loader reads the protos as they are; no code is generated.

import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const definition = loadSync(["planmesh/v1/plan.proto", "google/rpc/error_details.proto"], {
  includeDirs: [fileURLToPath(new URL("../../../protos", import.meta.url))],
  defaults: true, // sets fields that are 0 or empty and so not on the wire, such as the cost of an empty plan
  json: true, // decodes google.protobuf.Any, such as the details of an error
});
const { planmesh } = grpc.loadPackageDefinition(definition);

/** Returns the google.rpc.ErrorInfo of a failed call, undefined when it has none of planmesh. */
function errorInfo(error) {
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (bytes === undefined) return undefined;
  const { details } = definition["google.rpc.Status"].deserialize(bytes);
  return details.find((detail) => detail["@type"]?.endsWith("/google.rpc.ErrorInfo") && detail.domain === "planmesh");
}

/** Describes a failed call. Reasons are stable; messages are for people and may change. */
function explain(error) {
  const info = errorInfo(error);
  switch (info?.reason) {
    case "NODE_UNKNOWN":
      return `unknown node ${info.metadata.node}; similar: ${(info.metadata.near ?? "").replaceAll("\n", ", ")}`;
    case "NO_PATH":
      return `no path leads from ${info.metadata.start} to ${info.metadata.goal}`;
    default:
      return `${info?.reason ?? grpc.status[error.code]}: ${error.details}`;
  }
}

function plan(client, request, timeoutMs) {
  return new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + timeoutMs };
    client.Plan(request, options, (error, response) => (error ? reject(error) : resolve(response.plan)));
  });
}

const { values, positionals } = parseArgs({
  options: {
    address: { type: "string", default: "127.0.0.1:50051" },
    graph: { type: "string", default: "" },
    timeout: { type: "string", default: "10" },
  },
  allowPositionals: true,
});
const timeoutMs = Number(values.timeout) * 1000;
if (positionals.length !== 2 || !Number.isFinite(timeoutMs)) {
  console.error("usage: node client.mjs [--address HOST:PORT] [--graph NAME] [--timeout SECONDS] START GOAL");
  process.exit(2);
}
const [start, goal] = positionals;

// `planmesh up` listens on the loopback interface, without TLS.
const client = new planmesh.v1.PlanService(values.address, grpc.credentials.createInsecure());
try {
  const { cost, steps } = await plan(client, { graph: values.graph, start, goal }, timeoutMs);
  console.log(`cost ${cost.toFixed(3)}`);
  for (const step of steps) console.log(`${step.source} -> ${step.target} ${step.cost.toFixed(3)}`);
} catch (error) {
  if (error.code === undefined) throw error;
  console.error(explain(error));
  process.exitCode = 1;
} finally {
  client.close();
}
