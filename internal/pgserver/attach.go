package pgserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ory/dockertest/v3/docker"
)

// attached is a connection to a container's standard input and output. Writing goes
// to conn; reading takes the output out of the engine's frames: a byte for the stream,
// three of zero, the length in four, the bytes. A read that times out may be repeated.
type attached struct {
	conn   net.Conn
	reader *bufio.Reader
	header []byte
	rest   uint32 // of the current frame
}

// attach attaches to a container that is created and not yet started. The client's
// own AttachToContainerNonBlocking would keep two goroutines for as long as the
// container lives.
func attach(client *docker.Client, id string) (*attached, error) {
	network, address := "tcp", ""
	endpoint, err := url.Parse(client.Endpoint())
	if err != nil {
		return nil, err
	}
	switch endpoint.Scheme {
	case "unix", "npipe":
		network, address = endpoint.Scheme, endpoint.Path
	default:
		address = endpoint.Host
	}
	conn, err := client.Dialer.Dial(network, address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if client.TLSConfig != nil && network == "tcp" {
		config := client.TLSConfig.Clone()
		if config.ServerName == "" {
			config.ServerName = endpoint.Hostname()
		}
		conn = tls.Client(conn, config)
	}
	reader, err := upgrade(conn, id)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return &attached{conn: conn, reader: reader}, nil
}

func upgrade(conn net.Conn, id string) (*bufio.Reader, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
		"http://docker/containers/"+id+"/attach?stream=1&stdin=1&stdout=1", http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, req) //nolint:bodyclose // its body is the connection
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols && resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return reader, nil
}

func (a *attached) Read(p []byte) (int, error) {
	for a.rest == 0 {
		b, err := a.reader.ReadByte()
		if err != nil {
			return 0, err
		}
		if a.header = append(a.header, b); len(a.header) == 8 {
			if a.header[0] > 2 {
				return 0, errors.New("the engine sends something else than frames")
			}
			a.rest, a.header = binary.BigEndian.Uint32(a.header[4:]), nil
		}
	}
	n, err := a.reader.Read(p[:min(uint64(len(p)), uint64(a.rest))])
	a.rest -= uint32(n) //nolint:gosec // n is at most rest
	return n, err
}
