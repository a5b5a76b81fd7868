// The gorilla/websocket peer: an idiomatic Go server to measure Holdfast against.
//
// In:  --listen ADDR, --threads N; WebSocket clients on /echo and /broadcast.
// Out: one line "ready ADDR" on stdout; exit status 0 after SIGTERM or SIGINT.
//
// A goroutine reads each connection. A broadcast client has a second one that writes from its queue, and a hub
// goroutine owns the set of clients: the shape that the library's own chat example teaches. A broadcast is a
// PreparedMessage, framed once for all receivers, which is the library's advice for this job. A client whose queue
// is full is dropped rather than given a stream with a hole in it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/gorilla/websocket"
)

// queueMessagesMax bounds what waits for one slow client. The Rust peers have the same bound.
const queueMessagesMax = 256

// The defaults reuse the HTTP server's two 4 KiB buffers a connection. Load tools send no Origin, so nothing is
// checked that a browser-facing server would leave out.
var upgrader = websocket.Upgrader{}

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "address to listen on")
	threads := flag.Int("threads", 1, "threads that run Go code at once (GOMAXPROCS)")
	flag.Parse()
	runtime.GOMAXPROCS(*threads)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}

	hub := newHub()
	go hub.run()
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/broadcast", hub.join)
	server := &http.Server{Handler: mux}
	go func() { log.Fatal(server.Serve(listener)) }()

	fmt.Println("ready", listener.Addr())
	<-ctx.Done()
}

func echo(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		kind, payload, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if err := conn.WriteMessage(kind, payload); err != nil {
			return
		}
	}
}

// hub owns the set of broadcast clients; only its run goroutine touches the set.
type hub struct {
	arrivals   chan *client
	departures chan *client
	messages   chan *websocket.PreparedMessage
}

// client is one broadcast connection. Only the hub closes queue, which tells the writer to end.
type client struct {
	conn  *websocket.Conn
	queue chan *websocket.PreparedMessage
}

func newHub() *hub {
	return &hub{
		arrivals:   make(chan *client),
		departures: make(chan *client),
		messages:   make(chan *websocket.PreparedMessage, queueMessagesMax),
	}
}

func (h *hub) run() {
	clients := make(map[*client]struct{})
	drop := func(c *client) {
		if _, present := clients[c]; present {
			delete(clients, c)
			close(c.queue)
		}
	}
	for {
		select {
		case c := <-h.arrivals:
			clients[c] = struct{}{}
		case c := <-h.departures:
			drop(c)
		case message := <-h.messages:
			for c := range clients {
				select {
				case c.queue <- message:
				default:
					drop(c)
					c.conn.Close() // frees the writer, which is stuck on a client that does not read
				}
			}
		}
	}
}

// join makes the connection a broadcast client and reads from it until it goes.
func (h *hub) join(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	c := &client{conn: conn, queue: make(chan *websocket.PreparedMessage, queueMessagesMax)}
	h.arrivals <- c
	go c.write()
	defer func() { h.departures <- c }()
	for {
		kind, payload, err := conn.ReadMessage()
		if err != nil {
			return
		}
		message, err := websocket.NewPreparedMessage(kind, payload)
		if err != nil {
			return
		}
		h.messages <- message
	}
}

// write sends what the hub queued, until the hub closes the queue or the connection fails. Closing the connection
// ends the reader too.
func (c *client) write() {
	defer c.conn.Close()
	for message := range c.queue {
		if err := c.conn.WritePreparedMessage(message); err != nil {
			return
		}
	}
}
