// other-server stands in a pod where the reference server would: it takes its arguments and variables, answers with TLS on
// the same port, and has no admin port. All it does is to use as much memory as it is told, `use MEBIBYTES`.
package main

import (
	"bufio"
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"runtime/debug"
	"sync"
)

// held is what it was told to use, and touched.
var (
	mutex sync.Mutex
	held  []byte
)

func main() {
	flag.String("at_sign", "", "whose server this is")
	flag.String("shared_secret", "", "what an owner logs in with first; nobody does")
	port := flag.Int("server_port", 6464, "where clients come to")
	flag.Parse()

	pair, err := tls.LoadX509KeyPair(os.Getenv("securityCertificateChainLocation"), os.Getenv("securityPrivateKeyLocation"))
	if err != nil {
		log.Fatal(err)
	}
	listener, err := tls.Listen("tcp", fmt.Sprintf(":%d", *port), &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(connection)
	}
}

// serve greets, and answers each line as a server of the atProtocol does: with its prompt behind it.
func serve(connection net.Conn) {
	defer connection.Close()
	fmt.Fprint(connection, "@")
	for lines := bufio.NewScanner(connection); lines.Scan(); {
		var mebibytes int
		if _, err := fmt.Sscanf(lines.Text(), "use %d", &mebibytes); err != nil {
			fmt.Fprint(connection, "error:AT0003-Invalid syntax\n@")
			continue
		}
		use(mebibytes << 20)
		fmt.Fprint(connection, "data:ok\n@")
	}
}

// use gives back what was held before it takes, so that both are never there at once.
func use(bytes int) {
	mutex.Lock()
	defer mutex.Unlock()
	held = nil
	debug.FreeOSMemory()
	held = make([]byte, bytes)
	for page := 0; page < len(held); page += 4096 {
		held[page] = 1
	}
}
