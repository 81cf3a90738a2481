package cli

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// completionTimeout is how long a person who pressed TAB waits for a cluster.
const completionTimeout = 1500 * time.Millisecond

// Completion is what may come next on a command line.
type Completion = func(cmd *cobra.Command, args []string, typed string) []string

// CompleteArgs completes arguments. Files are not offered where it knows nothing.
func CompleteArgs(cmd *cobra.Command, next Completion) {
	cmd.ValidArgsFunction = completion(next)
}

// CompleteFlag completes a flag's value.
func CompleteFlag(cmd *cobra.Command, flag string, next Completion) {
	if err := cmd.RegisterFlagCompletionFunc(flag, completion(next)); err != nil {
		panic(err) // there is no such flag, or it is completed already
	}
}

// Values completes a flag with the values that it may have.
func Values(cmd *cobra.Command, flag string, values ...string) {
	CompleteFlag(cmd, flag, func(*cobra.Command, []string, string) []string { return values })
}

// CompleteDirs completes arguments with directories.
func CompleteDirs(cmd *cobra.Command) {
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
}

// CompleteFiles completes arguments with files.
func CompleteFiles(cmd *cobra.Command) {
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return nil, cobra.ShellCompDirectiveDefault
	}
}

func completion(next Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		var begun []string
		for _, word := range next(cmd, args, typed) {
			if strings.HasPrefix(word, typed) && !slices.Contains(args, word) {
				begun = append(begun, word)
			}
		}
		return begun, cobra.ShellCompDirectiveNoFileComp
	}
}

// Contexts are those of the kubeconfig that a command line names.
func Contexts(cmd *cobra.Command, _ []string, _ string) []string {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if flag := cmd.Flags().Lookup("kubeconfig"); flag != nil {
		rules.ExplicitPath = flag.Value.String()
	}
	config, err := rules.Load()
	if err != nil {
		return nil
	}
	var names []string
	for name := range config.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Names are the names of objects in the cluster, for completion: there are none, and no
// complaint, where it does not answer at once.
func (c *Cluster) Names(ctx context.Context, list client.ObjectList, opts ...client.ListOption) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	answer := make(chan []string, 1)
	go func() { answer <- c.names(ctx, list, opts) }()
	select {
	case names := <-answer:
		return names
	case <-ctx.Done(): // asking which kinds there are takes no context
		return nil
	}
}

func (c *Cluster) names(ctx context.Context, list client.ObjectList, opts []client.ListOption) []string {
	config, _, err := c.Config()
	if err != nil {
		return nil
	}
	config.Timeout = completionTimeout
	cl, err := connect(config)
	if err != nil || cl.List(ctx, list, opts...) != nil {
		return nil
	}
	var names []string
	_ = meta.EachListItem(list, func(item runtime.Object) error {
		if object, ok := item.(client.Object); ok {
			names = append(names, object.GetName())
		}
		return nil
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// TenantsIn are the tenants of the fleet at a path, by their directories: nothing in them
// is read.
func TenantsIn(path string) []string {
	if below := filepath.Join(path, tenantsDir); isDir(below) {
		path = below
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), "_") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// FirstOr is the first argument, or else a default.
func FirstOr(args []string, otherwise string) string {
	if len(args) > 0 {
		return args[0]
	}
	return otherwise
}
