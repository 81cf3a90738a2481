// Command standins runs what the local platform and the tests use in place of
// programs that are not at hand everywhere: a Git forge for Gitea, the part of
// Flux's source-controller that fleets need, and of its notification-controller.
// Each is a process of its own, as the real ones are. None belongs in a cluster.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/aetherplatform/aether/internal/local/forge"
	"github.com/aetherplatform/aether/internal/local/sources"
	"github.com/aetherplatform/aether/internal/webhook"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	cmd := &cobra.Command{
		Use:           "standins",
		Short:         "Run a stand-in of the local platform",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.AddCommand(forgeCommand(log), sourcesCommand(), receiverCommand(log))
	if err := cmd.ExecuteContext(ctx); err != nil {
		log.Error("ended", "error", err)
		os.Exit(1)
	}
}

func forgeCommand(log *slog.Logger) *cobra.Command {
	var listen, adminFile string
	opts := forge.Options{Log: log}
	cmd := &cobra.Command{
		Use:   "forge",
		Short: "Serve Git over HTTP, with as much of Gitea's API as the platform calls",
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := os.ReadFile(adminFile)
			if err != nil {
				return err
			}
			if err := json.Unmarshal(data, &opts.Admin); err != nil {
				return fmt.Errorf("cannot read %s: %w", adminFile, err)
			}
			server, err := forge.New(opts)
			if err != nil {
				return err
			}
			defer server.Close()
			return serve(cmd.Context(), listen, server)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "loopback address to listen on")
	cmd.Flags().StringVar(&opts.URL, "url", "", "URL that clients use")
	cmd.Flags().StringVar(&opts.Dir, "dir", "", "folder of the repositories")
	cmd.Flags().StringVar(&adminFile, "admin-file", "", "JSON file with the administrator's name and password")
	return cmd
}

func sourcesCommand() *cobra.Command {
	var listen, kubeconfig string
	r := &sources.Reconciler{Now: time.Now}
	cmd := &cobra.Command{
		Use:   "sources",
		Short: "Make and serve the artifacts of Flux GitRepositories",
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, s, err := cluster(kubeconfig)
			if err != nil {
				return err
			}
			mgr, err := ctrl.NewManager(config, ctrl.Options{
				Scheme:  s,
				Metrics: server.Options{BindAddress: "0"},
				// Secrets are read one by one, as they are needed.
				Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
			})
			if err != nil {
				return err
			}
			r.Client = mgr.GetClient()
			if err := r.SetupWithManager(mgr); err != nil {
				return err
			}
			ctx, cancel := context.WithCancelCause(cmd.Context())
			go func() { cancel(errors.Join(errors.New("the artifact server ended"), serve(ctx, listen, r))) }()
			if err := mgr.Start(ctx); err != nil {
				return err
			}
			if cmd.Context().Err() == nil {
				return context.Cause(ctx)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "loopback address to serve artifacts on")
	cmd.Flags().StringVar(&r.URL, "url", "", "URL that artifacts are served under")
	cmd.Flags().StringVar(&r.Dir, "dir", "", "folder of the mirrors and artifacts")
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of source-controller's identity")
	return cmd
}

func receiverCommand(log *slog.Logger) *cobra.Command {
	var listen, kubeconfig, secretFile string
	var names []string
	cmd := &cobra.Command{
		Use:   "receiver",
		Short: "Make Flux fetch when the forge says that something was pushed",
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, s, err := cluster(kubeconfig)
			if err != nil {
				return err
			}
			c, err := client.New(config, client.Options{Scheme: s})
			if err != nil {
				return err
			}
			secret, err := os.ReadFile(secretFile)
			if err != nil {
				return err
			}
			receiver := &webhook.Receiver{Secret: secret, Client: c, Now: time.Now, Log: log}
			for _, name := range names {
				namespace, name, found := strings.Cut(name, "/")
				if !found {
					return fmt.Errorf("--source %s: write <namespace>/<name>", namespace)
				}
				receiver.Sources = append(receiver.Sources, client.ObjectKey{Namespace: namespace, Name: name})
			}
			mux := http.NewServeMux()
			mux.Handle("/hook", receiver)
			return serve(cmd.Context(), listen, mux)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "loopback address to listen on")
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig of an identity that may annotate GitRepositories")
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "file with the secret that events are signed with")
	cmd.Flags().StringArrayVar(&names, "source", nil, "GitRepository to fetch, as namespace/name")
	return cmd
}

// cluster is the API server, and the kinds that stand-ins read and write.
func cluster(kubeconfig string) (*rest.Config, *runtime.Scheme, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	s := runtime.NewScheme()
	return config, s, errors.Join(scheme.AddToScheme(s), sourcev1.AddToScheme(s))
}

// headerTimeout keeps a client that sends nothing from holding a connection.
const headerTimeout = 10 * time.Second

// serve serves until ctx ends, and answers /healthz.
func serve(ctx context.Context, address string, handler http.Handler) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("--listen %s: a stand-in listens on a loopback address only, such as 127.0.0.1:8080", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("/", handler)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	stopped := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stopped()
	if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
