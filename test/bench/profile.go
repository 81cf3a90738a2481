package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
)

// profiled is how long a CPU profile lasts: less than what it is taken of.
const profiled = 20 * time.Second

// profile takes CPU profiles of the API server and the operator from now on, into
// files that begin with name, and returns how to wait for them. Without a folder
// to put them into it does nothing.
func (s *stage) profile(ctx context.Context, name string) (wait func() error) {
	if s.profiles == "" {
		return func() error { return nil }
	}
	query := fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(profiled.Seconds()))
	failed := make(chan error, 2)
	go func() {
		client, err := rest.HTTPClientFor(s.Config)
		if err == nil {
			err = save(ctx, client, s.Config.Host+query, filepath.Join(s.profiles, name+"-kube-apiserver.pprof"))
		}
		failed <- err
	}()
	go func() {
		url := fmt.Sprintf("http://127.0.0.1:%d%s", s.Ports.OperatorMetrics, query)
		failed <- save(ctx, http.DefaultClient, url, filepath.Join(s.profiles, name+"-namespace-operator.pprof"))
	}()
	return func() error { return errors.Join(<-failed, <-failed) }
}

// heap saves what the operator's memory holds, after a collection.
func (s *stage) heap(ctx context.Context, name string) error {
	if s.profiles == "" {
		return nil
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/heap?gc=1", s.Ports.OperatorMetrics)
	return save(ctx, http.DefaultClient, url, filepath.Join(s.profiles, name+"-namespace-operator-heap.pprof"))
}

func save(ctx context.Context, client *http.Client, url, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, answer.Status)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}
