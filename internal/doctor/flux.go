package doctor

import (
	"context"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What Flux serves, and where it runs unless someone has moved it.
const (
	fluxSources        = "source.toolkit.fluxcd.io/v1"
	fluxKustomizations = "kustomize.toolkit.fluxcd.io/v1"
	fluxNamespace      = "flux-system"
	installFlux        = "install Flux 2.3 or newer: flux install, or its manifests"
)

// fluxKinds are the kinds that Aether reads or writes.
var fluxKinds = []struct{ groupVersion, resource, use string }{
	{fluxSources, "gitrepositories", "tenants are read from them, and namespaces are handed over to them"},
	{fluxKustomizations, "kustomizations", "namespaces are handed over to them"},
}

func (c *cluster) checkFlux(context.Context) []Finding {
	var found []Finding
	for _, kind := range fluxKinds {
		name := kind.resource + "." + kind.groupVersion
		is, err := c.serves(kind.groupVersion, kind.resource)
		switch {
		case err != nil:
			return one(c.unread(err, right{verb: "discover", resource: kind.groupVersion}))
		case !is:
			found = append(found, failed("", installFlux, "%s is not served: %s", name, kind.use))
		}
	}
	if len(found) > 0 {
		return found
	}
	return one(ok("GitRepository and Kustomization are served at v1"))
}

func (c *cluster) checkFluxSources(ctx context.Context) []Finding {
	all, err := c.sources()
	if err != nil {
		return one(c.unread(err, c.readTenantSources()))
	}
	if len(all) == 0 {
		return one(unchecked("no TenantSource names one"))
	}
	var found []Finding
	var ready []string
	for i := range all {
		ref := all[i].Spec.SourceRef
		object := ref.Kind + "/" + all[i].Namespace + "/" + ref.Name
		source := &unstructured.Unstructured{}
		source.SetGroupVersionKind(schema.FromAPIVersionAndKind(fluxSources, ref.Kind))
		err := c.Get(ctx, client.ObjectKey{Namespace: all[i].Namespace, Name: ref.Name}, source)
		switch {
		case apierrors.IsNotFound(err):
			found = append(found, failed(object, "create it, or correct spec.sourceRef of the TenantSource",
				"is not there, and TenantSource %s reads tenants from it", all[i].Name))
		case err != nil:
			found = append(found, c.unread(err, right{"get", strings.ToLower(ref.Kind) + "." + fluxSources, all[i].Namespace}).about(object))
		default:
			f := fluxReady(source)
			if f.Outcome == OK {
				ready = append(ready, ref.Kind+" "+ref.Name+f.Message)
				continue
			}
			found = append(found, f.about(object))
		}
	}
	if len(found) > 0 {
		return found
	}
	return one(ok("Ready: %s", strings.Join(ready, ", ")))
}

// fluxReady is what Flux says of a source.
func fluxReady(source *unstructured.Unstructured) Finding {
	const advice = "`kubectl describe` it: its address, its credentials, and whether source-controller reaches the host"
	if suspended, _, _ := unstructured.NestedBool(source.Object, "spec", "suspend"); suspended {
		return warning("", "flux resume source, or set spec.suspend to false", "is suspended: nothing that is pushed is read")
	}
	ready := meta.FindStatusCondition(conditionsOf(source), "Ready")
	switch {
	case ready == nil:
		return failed("", "see that source-controller runs: kubectl -n "+fluxNamespace+" get pods", "Flux has not looked at it")
	case ready.Status == metav1.ConditionTrue:
		revision, _, _ := unstructured.NestedString(source.Object, "status", "artifact", "revision")
		if revision == "" {
			return ok("")
		}
		return ok(" at %s", revision)
	case ready.Status == metav1.ConditionFalse:
		return failed("", advice, "is not Ready: %s: %s", ready.Reason, oneLine(ready.Message))
	default:
		return warning("", advice, "is not Ready yet: %s: %s", ready.Reason, oneLine(ready.Message))
	}
}

// conditionsOf reads the conditions of an object of any kind; what is no condition is
// left out.
func conditionsOf(u *unstructured.Unstructured) []metav1.Condition {
	items, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	var all []metav1.Condition
	for _, item := range items {
		m, isMap := item.(map[string]any)
		var c metav1.Condition
		if isMap && runtime.DefaultUnstructuredConverter.FromUnstructured(m, &c) == nil {
			all = append(all, c)
		}
	}
	return all
}

// lockdown are the flags that keep one tenant's Kustomization from another's.
var lockdown = []struct{ flag, without string }{
	{"--no-cross-namespace-refs", "a tenant's Kustomization can be applied from another's source"},
	{"--no-remote-bases", "a tenant's kustomization.yaml can fetch from anywhere"},
	{"--default-service-account", "a Kustomization without an account is applied with Flux's own rights"},
}

func (c *cluster) checkLockdown(ctx context.Context) []Finding {
	const name = "kustomize-controller"
	const object = "Deployment/" + fluxNamespace + "/" + name
	var deployment appsv1.Deployment
	err := c.Get(ctx, client.ObjectKey{Namespace: fluxNamespace, Name: name}, &deployment)
	switch {
	case apierrors.IsNotFound(err):
		return one(unchecked("there is no such Deployment; see that the controller runs with %s", strings.Join(flagNames(), ", ")))
	case err != nil:
		return one(c.unread(err, right{"get", "deployments.apps", fluxNamespace}))
	}
	var args []string
	for _, container := range deployment.Spec.Template.Spec.Containers {
		args = append(append(args, container.Command...), container.Args...)
	}
	var found []Finding
	for _, l := range lockdown {
		if !set(args, l.flag) {
			found = append(found, failed(object, "add the flag, as Flux advises for several tenants: https://fluxcd.io/flux/installation/configuration/multitenancy/",
				"runs without %s: %s", l.flag, l.without))
		}
	}
	if len(found) > 0 {
		return found
	}
	return one(ok("%s", strings.Join(flagNames(), ", ")))
}

func flagNames() []string {
	names := make([]string, len(lockdown))
	for i, l := range lockdown {
		names[i] = l.flag
	}
	return names
}

// set says whether a flag is given, and not switched off.
func set(args []string, flag string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		name, value, has := strings.Cut(arg, "=")
		return name == flag && (!has || value != "false" && value != "")
	})
}
