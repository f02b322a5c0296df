package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Option changes what [Start] does.
type Option func(*config)

type config struct {
	dsn      string
	docker   bool
	tag      string
	settings []setting

	sources []source
	advice  string

	// Tests replace these: they run in parallel and can't set the environment.
	getenv    func(string) string
	tempDirs  func() []string
	cacheDirs func() []string
	release   release

	errs []error
}

type setting struct{ name, value string }

// source is one place that may have a Postgres. Its start returns an absentError
// to let the next one have a try.
type source struct {
	name  string
	start func(ctx context.Context, cfg *config) (*Server, error)
}

// DSN uses the running server that url names and tries nothing else. The url is a
// URL or a keyword/value string; its database serves as the maintenance database
// and its user must be allowed to create databases.
func DSN(url string) Option {
	return func(cfg *config) {
		if cfg.dsn = url; url == "" {
			cfg.errs = append(cfg.errs, errors.New("the DSN is empty"))
		}
	}
}

// Docker uses the image postgres:<tag> in Docker, pulled if the engine doesn't have
// it, and tries nothing else. An empty tag means 17.
func Docker(tag string) Option {
	return func(cfg *config) {
		cfg.docker = true
		if tag != "" {
			cfg.tag = tag
		}
	}
}

// Setting sets a parameter of the server, as postgres -c name=value does. The last
// one of a name wins, over this package's defaults, too: fsync=off,
// full_page_writes=off, max_connections=200 and max_prepared_transactions=20.
// A server that isn't ours can't be set: [Start] then fails unless the server
// already has that very value.
func Setting(name, value string) Option {
	return func(cfg *config) {
		// These hold the connection between the server and its URL.
		own := []string{"port", "listen_addresses", "unix_socket_directories", "data_directory", "hba_file", "ssl"}
		if slices.Contains(own, strings.ToLower(name)) {
			cfg.errs = append(cfg.errs, fmt.Errorf("the setting %s can't be changed", name))
			return
		}
		if name == "" || strings.ContainsAny(name, "= \t\n") {
			cfg.errs = append(cfg.errs, fmt.Errorf("%q is no name of a setting", name))
			return
		}
		cfg.settings = append(cfg.settings, setting{name, value})
	}
}

func newConfig(opts []Option) (*config, error) {
	cfg := &config{tag: "17", getenv: os.Getenv, tempDirs: tempDirs, cacheDirs: cacheDirs, release: pinned}
	for _, opt := range opts {
		opt(cfg)
	}
	if cfg.dsn != "" && cfg.docker {
		cfg.errs = append(cfg.errs, errors.New("DSN and Docker exclude each other"))
	}
	if err := errors.Join(cfg.errs...); err != nil {
		return nil, fmt.Errorf("start a Postgres: %w", err)
	}
	switch {
	case cfg.sources != nil:
	case cfg.dsn != "":
		cfg.sources = []source{givenSource}
	case cfg.docker:
		cfg.sources = []source{dockerSource}
		cfg.advice = "Start a Docker engine, or name one in DOCKER_HOST."
	default:
		cfg.sources = []source{environmentSource, localSource, dockerSource, downloadSource}
		cfg.advice = "Do one of these: install Postgres (Debian and Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; " +
			"macOS: brew install postgresql@17); start Docker; install Node.js with npm, for a download; " +
			"or set DATABASE_URL to a server on which databases may be created."
	}
	return cfg, nil
}

// parameters is the command line of the server for its settings, defaults first
// because the last one of a name wins.
func (cfg *config) parameters() []string {
	settings := append([]setting{
		{"fsync", "off"},
		{"full_page_writes", "off"},
		{"max_connections", "200"},
		{"max_prepared_transactions", "20"},
		{"logging_collector", "off"},
		{"log_destination", "stderr"},
	}, cfg.settings...)
	args := make([]string, 0, 2*len(settings))
	for _, s := range settings {
		args = append(args, "-c", s.name+"="+s.value)
	}
	return args
}
