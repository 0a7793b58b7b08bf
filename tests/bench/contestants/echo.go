// A TCP echo in Go: one goroutine a connection, one thread running them.
//
// usage: go_echo PORT     serves on 127.0.0.1:PORT until SIGTERM or SIGINT
//
// The runtime sets TCP_NODELAY on every connection that it accepts, with a call of its own that no
// option leaves out, and, in newer releases, lifts the fd limit by itself. The calls for keep-alive,
// which nobody else makes, are left out.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
)

const bufferBytes = 64 * 1024

func echo(connection *net.TCPConn) {
	defer connection.Close()
	buffer := make([]byte, bufferBytes)
	for {
		size, err := connection.Read(buffer)
		if size > 0 {
			if _, failed := connection.Write(buffer[:size]); failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func accept(listener *net.TCPListener) {
	for {
		connection, err := listener.AcceptTCP()
		if errors.Is(err, syscall.ECONNABORTED) {
			continue
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "go_echo:", err)
			os.Exit(1)
		}
		go echo(connection)
	}
}

func liftFdLimit() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
}

func main() {
	port := -1
	if len(os.Args) == 2 {
		if number, err := strconv.ParseUint(os.Args[1], 10, 16); err == nil {
			port = int(number)
		}
	}
	if port < 0 {
		fmt.Fprintln(os.Stderr, "usage: go_echo PORT")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(1)
	liftFdLimit()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	options := net.ListenConfig{KeepAlive: -1}
	opened, err := options.Listen(context.Background(), "tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		fmt.Fprintln(os.Stderr, "go_echo:", err)
		os.Exit(1)
	}
	listener := opened.(*net.TCPListener)
	go accept(listener)
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	<-signals
}
