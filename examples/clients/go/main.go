// Command planmesh-client asks a planmesh gateway for the cheapest path and prints it.
//
//	go generate
//	go run . [-address 127.0.0.1:50051] [-graph NAME] [-timeout DURATION] Lisbon Oslo
//
// `go generate` writes planmesh/v1 from plan.proto. It needs protoc and its two plugins on PATH:
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.1
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	planmeshv1 "planmesh/v1"
)

//go:generate protoc -I ../../../protos --go_out=. --go-grpc_out=. planmesh/v1/plan.proto

func main() {
	address := flag.String("address", "127.0.0.1:50051", "host:port of the gateway")
	graph := flag.String("graph", "", "name of the graph; empty means \"default\"")
	timeout := flag.Duration("timeout", 10*time.Second, "deadline of the plan")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: planmesh-client [flags] START GOAL")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}

	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	request := &planmeshv1.PlanRequest{Graph: *graph, Start: flag.Arg(0), Goal: flag.Arg(1)}
	plan, err := ask(ctx, *address, request)
	if err != nil {
		fmt.Fprintln(os.Stderr, explain(err))
		os.Exit(1)
	}
	fmt.Printf("cost %.3f\n", plan.GetCost())
	for _, step := range plan.GetSteps() {
		fmt.Printf("%s -> %s %.3f\n", step.GetSource(), step.GetTarget(), step.GetCost())
	}
}

// ask makes one plan. The deadline of ctx travels with the call: the mesh drops work that no caller waits for.
func ask(ctx context.Context, address string, request *planmeshv1.PlanRequest) (*planmeshv1.Plan, error) {
	// `planmesh up` listens on the loopback interface, without TLS.
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	response, err := planmeshv1.NewPlanServiceClient(conn).Plan(ctx, request)
	return response.GetPlan(), err
}

// explain describes a failed call. Reasons are stable; messages are for people and may change.
func explain(err error) string {
	failed := status.Convert(err)
	for _, detail := range failed.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != "planmesh" {
			continue
		}
		metadata := info.GetMetadata()
		switch info.GetReason() {
		case "NODE_UNKNOWN":
			near := strings.ReplaceAll(metadata["near"], "\n", ", ")
			return fmt.Sprintf("unknown node %s; similar: %s", metadata["node"], near)
		case "NO_PATH":
			return fmt.Sprintf("no path leads from %s to %s", metadata["start"], metadata["goal"])
		default:
			return fmt.Sprintf("%s: %s", info.GetReason(), failed.Message())
		}
	}
	return fmt.Sprintf("%s: %s", failed.Code(), failed.Message())
}
