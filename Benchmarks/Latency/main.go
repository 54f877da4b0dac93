// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

// What `tableflip-demo serve` does for GET /, with net/http and Cloudflare's tableflip.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

func main() {
	pidFile := flag.String("pid-file", "", "names the process in charge")
	flag.Parse()

	upgrader, err := tableflip.New(tableflip.Options{PIDFile: *pidFile})
	check(err)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			if err := upgrader.Upgrade(); err != nil {
				log.Println(err)
			}
		}
	}()

	listener, err := upgrader.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := http.Server{Handler: http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(writer, "%d\n", os.Getpid())
	})}
	go server.Serve(listener)
	check(upgrader.Ready())
	fmt.Println(listener.Addr())
	<-upgrader.Exit()
	// As tableflip's own example of a server ends it.
	limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	server.Shutdown(limit)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
