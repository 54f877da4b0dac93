// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

// What ../swift-server does, with Cloudflare's tableflip.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

var ballast []byte

func main() {
	exit := flag.Bool("exit", false, "to measure the bare start of a process")
	pidFile := flag.String("pid-file", "", "names the process in charge")
	carried := flag.Int("carry", 0, "how many files are carried beside the listener")
	size := flag.Int("ballast", 0, "bytes of resident memory, filled once the predecessor has left")
	flag.Parse()
	if *exit {
		return
	}

	upgrader, err := tableflip.New(tableflip.Options{PIDFile: *pidFile})
	check(err)
	defer upgrader.Stop()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for range hangups {
			// It may hear later than whoever asks that its parent has ended, and refuses until then.
			err := upgrader.Upgrade()
			for tries := 0; err != nil && tries < 1000; tries++ {
				time.Sleep(time.Millisecond)
				err = upgrader.Upgrade()
			}
			check(err)
		}
	}()

	listener, err := upgrader.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer listener.Close()
	for number := 0; number < *carried; number++ {
		name := fmt.Sprintf("file %d", number)
		// A duplicate, which is the caller's; the library keeps the one that it hands on.
		file, err := upgrader.File(name)
		check(err)
		if file == nil {
			file, err = os.Open("/dev/null")
			check(err)
			check(upgrader.AddFile(name, file))
		}
		check(file.Close())
	}
	check(upgrader.Ready())
	check(upgrader.WaitForParent(context.Background()))
	ballast = make([]byte, *size)
	for at := 0; at < len(ballast); at += 4096 {
		ballast[at] = 1
	}
	fmt.Println(os.Getpid())
	<-upgrader.Exit()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
