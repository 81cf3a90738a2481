// Package reconcile is `aether reconcile`: Flux and Aether are asked to look at
// Git now, and the answer is waited for.
package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/internal/cli"
)

// Options is what reconcile is asked.
type Options struct {
	*cli.Env
	cli.Cluster
	Name      string
	Namespace string
	Timeout   time.Duration
	Wait      bool
	Output    string
}

// NewCommand returns the command.
func NewCommand(env *cli.Env) *cobra.Command {
	o := &Options{Env: env}
	cmd := &cobra.Command{
		Use:   "reconcile [source NAME]",
		Short: "Look at Git now, and say what became of it",
		Long: `Ask Flux to look at Git now, then ask Aether to apply what Flux found, and wait
until the tenants have been applied and their namespaces have settled.

You rarely need it: a push is noticed through its webhook, or at the latest after
the source's interval, and what someone changes in the cluster is put back at
once. It is for the moment when you do not want to wait, or want to see why
nothing happens.

The name of the source may be left out when there is only one. The exit code is 1
when tenants have errors, namespaces are not ready, or the time is up; json and yaml
say the same as the table, and with --wait=false nothing is printed.`,
		Example: `  aether reconcile
  aether reconcile source fleet --timeout 5m
  aether reconcile --output json | jq -r '.notReady[].namespace'
  aether reconcile --wait=false`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (args[0] != "source" || len(args) > 2) {
				return cli.Usage("aether reconcile source NAME", "cannot reconcile %q: only a source can be asked", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 2 {
				o.Name = args[1]
			}
			return run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.Namespace, "namespace", "n", v1alpha1.SystemNamespace, "namespace of the source")
	flags.DurationVar(&o.Timeout, "timeout", 2*time.Minute, "how long to wait")
	flags.BoolVar(&o.Wait, "wait", true, "wait for the outcome")
	flags.StringVarP(&o.Output, "output", "o", "table", "table, json or yaml")
	o.AddFlags(flags)
	cli.Values(cmd, "output", "table", "json", "yaml")
	cli.CompleteArgs(cmd, func(cmd *cobra.Command, args []string, _ string) []string {
		switch len(args) {
		case 0:
			return []string{"source"}
		case 1:
			return o.Cluster.Names(cmd.Context(), &v1alpha1.TenantSourceList{}, client.InNamespace(o.Namespace))
		}
		return nil
	})
	return cmd
}

func run(ctx context.Context, o *Options) error {
	if err := cli.CheckOutput(o.Output, "table", "json", "yaml"); err != nil {
		return err
	}
	c, err := o.Connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()

	source, err := o.find(ctx, c)
	if err != nil {
		return err
	}
	if source.Spec.Suspend {
		return &cli.Error{Code: cli.ExitFindings, Err: fmt.Errorf("TenantSource %s/%s is suspended", source.Namespace, source.Name),
			Try: fmt.Sprintf("kubectl -n %s patch tenantsource %s --type merge -p '{\"spec\":{\"suspend\":false}}'", source.Namespace, source.Name)}
	}
	// Flux compares tokens only for change; the time makes each one new.
	token := o.Now().UTC().Format(time.RFC3339Nano)

	revision, err := o.askFlux(ctx, c, source, token)
	if err != nil {
		return err
	}
	if err := o.askAether(ctx, c, source, revision, token); err != nil {
		return err
	}
	if !o.Wait {
		return nil
	}
	return o.tell(ctx, c, source)
}

// find takes the source by its name, or the only one there is.
func (o *Options) find(ctx context.Context, c client.Client) (*v1alpha1.TenantSource, error) {
	var list v1alpha1.TenantSourceList
	if err := c.List(ctx, &list, client.InNamespace(o.Namespace)); err != nil {
		return nil, cli.ClusterError(err, "list sources in "+o.Namespace)
	}
	var names []string
	for i := range list.Items {
		if list.Items[i].Name == o.Name {
			return &list.Items[i], nil
		}
		names = append(names, list.Items[i].Name)
	}
	switch {
	case o.Name != "":
		return nil, cli.NotFound("source", o.Name, names)
	case len(names) == 0:
		return nil, &cli.Error{Code: cli.ExitNotFound, Err: fmt.Errorf("there is no TenantSource in namespace %q", o.Namespace),
			Try: "`aether get sources` lists those of all namespaces; choose one with --namespace"}
	case len(names) > 1:
		return nil, cli.Usage("aether reconcile source "+names[0], "there are %d sources in namespace %q: name one of %q", len(names), o.Namespace, names)
	}
	return &list.Items[0], nil
}

// askFlux asks for the newest artifact and returns its revision.
func (o *Options) askFlux(ctx context.Context, c client.WithWatch, source *v1alpha1.TenantSource, token string) (string, error) {
	ref := source.Spec.SourceRef
	what := fmt.Sprintf("%s %s/%s", ref.Kind, source.Namespace, ref.Name)
	gvk := schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: ref.Kind}

	flux := &unstructured.Unstructured{}
	flux.SetGroupVersionKind(gvk)
	flux.SetNamespace(source.Namespace)
	flux.SetName(ref.Name)
	if err := request(ctx, c, flux, token); err != nil {
		return "", cli.ClusterError(err, "ask "+what)
	}
	fmt.Fprintf(o.Err, "asked %s to look at Git\n", what)
	if !o.Wait {
		return "", nil
	}

	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	var seen *unstructured.Unstructured
	err := cli.Await(ctx, c, list, func(objects []client.Object) bool {
		for _, obj := range objects {
			seen, _ = obj.(*unstructured.Unstructured)
			handled, _, _ := unstructured.NestedString(seen.Object, "status", "lastHandledReconcileAt")
			return handled == token
		}
		return false
	}, client.InNamespace(source.Namespace), client.MatchingFields{"metadata.name": ref.Name})
	if err != nil {
		return "", timedOut(err, what, "is Flux's source-controller running?", o.Timeout)
	}
	if problem := falseReady(seen); problem != "" {
		return "", &cli.Error{Code: cli.ExitFindings, Err: fmt.Errorf("%s is not ready: %s", what, problem),
			Try: "the tenants stay as they are until Flux can read the repository again"}
	}
	revision, _, _ := unstructured.NestedString(seen.Object, "status", "artifact", "revision")
	return revision, nil
}

// falseReady is the message of a Ready condition that is False.
func falseReady(u *unstructured.Unstructured) string {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["type"] == "Ready" && m["status"] == "False" {
			return fmt.Sprint(m["message"])
		}
	}
	return ""
}

// askAether asks for the tenants of a revision to be applied, and updates source
// to what became of it.
func (o *Options) askAether(ctx context.Context, c client.WithWatch, source *v1alpha1.TenantSource, revision, token string) error {
	what := fmt.Sprintf("TenantSource %s/%s", source.Namespace, source.Name)
	if err := request(ctx, c, source, token); err != nil {
		return cli.ClusterError(err, "ask "+what)
	}
	fmt.Fprintf(o.Err, "asked %s to apply it\n", what)
	if !o.Wait {
		return nil
	}
	err := cli.Await(ctx, c, &v1alpha1.TenantSourceList{}, func(objects []client.Object) bool {
		for _, obj := range objects {
			s, ok := obj.(*v1alpha1.TenantSource)
			if !ok || s.Status.LastHandledReconcileAt != token {
				continue
			}
			s.DeepCopyInto(source)
			return revision == "" || s.Status.LastAttemptedRevision == revision
		}
		return false
	}, client.InNamespace(source.Namespace), client.MatchingFields{"metadata.name": source.Name})
	if err != nil {
		return timedOut(err, what, "is the namespace operator running? `kubectl -n "+v1alpha1.SystemNamespace+" get pods`", o.Timeout)
	}
	return nil
}

// tell waits for the namespaces to settle and prints the outcome.
func (o *Options) tell(ctx context.Context, c client.WithWatch, source *v1alpha1.TenantSource) error {
	namespaces := &v1alpha1.TenantNamespaceList{}
	var all []*v1alpha1.TenantNamespace
	err := cli.Await(ctx, c, namespaces, func(objects []client.Object) bool {
		all = all[:0]
		settled := true
		for _, obj := range objects {
			if n, ok := obj.(*v1alpha1.TenantNamespace); ok {
				all = append(all, n)
				settled = settled && isSettled(n)
			}
		}
		return settled
	}, client.MatchingLabels{v1alpha1.LabelSource: source.Namespace + "." + source.Name})
	late := errors.Is(err, context.DeadlineExceeded)
	if err != nil && !late {
		return cli.ClusterError(err, "watch namespaces")
	}

	result := resultOf(source, all)
	if err := o.print(result); err != nil {
		return err
	}
	switch {
	case late && len(result.NotReady) == 0: // a change that the operator has not looked at
		return timedOut(err, "a namespace", "aether get namespaces", o.Timeout)
	case late:
		return timedOut(err, cli.Count(len(result.NotReady), "namespace"), "aether explain namespace "+result.NotReady[0].Namespace, o.Timeout)
	case result.Ready.Status != metav1.ConditionTrue || len(result.NotReady) > 0:
		return cli.Findings()
	}
	return nil
}

// isSettled is whether a namespace's status speaks of it as it is now. Leaving
// Git and coming back change no generation, so they are looked at as well.
func isSettled(n *v1alpha1.TenantNamespace) bool {
	ready := cli.ReadyOf(n.Status.Conditions)
	_, left := n.Annotations[v1alpha1.AnnotationRemovedAt]
	switch {
	case n.Status.ObservedGeneration != n.Generation, ready.Status == metav1.ConditionUnknown:
		return false
	case left:
		return !ready.True()
	default:
		return ready.Reason != v1alpha1.ReasonRemovedFromGit
	}
}

// request sets the annotation with which Flux, and Aether, are asked to look now.
func request(ctx context.Context, c client.Client, obj client.Object, token string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		fluxmeta.ReconcileRequestAnnotation: token,
	}}})
	if err != nil {
		return err
	}
	return c.Patch(ctx, obj, client.RawPatch("application/merge-patch+json", patch), client.FieldOwner("aether-cli"))
}

func timedOut(err error, what, try string, after time.Duration) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return cli.ClusterError(err, "watch "+what)
	}
	return &cli.Error{Code: cli.ExitFindings, Err: fmt.Errorf("%s did not answer within %s", what, after), Try: try}
}
