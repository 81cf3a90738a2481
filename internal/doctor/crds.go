package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
	"github.com/aetherplatform/aether/config/crd"
)

var readCRDs = right{verb: "get", resource: "customresourcedefinitions.apiextensions.k8s.io"}

// definition is a CRD in this program.
type definition struct {
	file string
	*apiextensionsv1.CustomResourceDefinition
}

// ours are the CRDs in this program, by file.
func ours() ([]definition, error) {
	files, err := fs.Glob(crd.FS, "*.yaml")
	if err != nil {
		return nil, err
	}
	var all []definition
	for _, file := range files {
		data, err := crd.FS.ReadFile(file)
		if err != nil {
			return nil, err
		}
		d := definition{file, &apiextensionsv1.CustomResourceDefinition{}}
		if err := yaml.Unmarshal(data, d.CustomResourceDefinition); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, d)
	}
	return all, nil
}

// readDefinitions asks for each CRD by name: a cluster may have hundreds of others.
func (c *cluster) readDefinitions() (map[string]*apiextensionsv1.CustomResourceDefinition, error) {
	ctx, cancel := c.once()
	defer cancel()
	wanted, err := ours()
	if err != nil {
		return nil, err
	}
	found := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, d := range wanted {
		have := &apiextensionsv1.CustomResourceDefinition{}
		err := c.Get(ctx, client.ObjectKey{Name: d.Name}, have)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found[d.Name] = have
	}
	return found, nil
}

func crdObject(name string) string { return "CustomResourceDefinition/" + name }

func applyCRD(file string) string {
	return "kubectl apply --server-side --force-conflicts -f config/crd/" + file
}

func (c *cluster) checkServed(context.Context) []Finding {
	wanted, err := ours()
	if err != nil {
		return one(failed("", "", "%v", err))
	}
	have, err := c.definitions()
	if err != nil {
		return one(c.unread(err, readCRDs))
	}
	if len(have) == 0 {
		return one(failed("", "kubectl apply --server-side --force-conflicts -f config/crd", "none of the %d is there: Aether is not installed in this cluster", len(wanted)))
	}
	var found []Finding
	for _, d := range wanted {
		object := crdObject(d.Name)
		is, there := have[d.Name]
		if !there {
			found = append(found, failed(object, applyCRD(d.file), "is missing"))
			continue
		}
		if f := served(is, d.file); f != nil {
			found = append(found, f.about(object))
		}
	}
	if len(found) > 0 {
		return found
	}
	return one(ok("%d are Established, and serve and store %s", len(wanted), v1alpha1.GroupVersion.Version))
}

// served is what is wrong with how a CRD is served; nil where nothing is.
func served(is *apiextensionsv1.CustomResourceDefinition, file string) *Finding {
	version := v1alpha1.GroupVersion.Version
	at := slices.IndexFunc(is.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == version })
	var f Finding
	switch {
	case condition(is, apiextensionsv1.Established).Status != apiextensionsv1.ConditionTrue:
		why := condition(is, apiextensionsv1.NamesAccepted)
		if why.Status == apiextensionsv1.ConditionTrue || why.Message == "" {
			why = condition(is, apiextensionsv1.Established)
		}
		f = failed("", "kubectl get crd "+is.Name+" -o yaml, and remove the CRD whose names it takes", "is not Established: %s", oneLine(why.Message))
	case at < 0 || !is.Spec.Versions[at].Served:
		f = failed("", applyCRD(file), "does not serve %s, which this program and the operator speak", version)
	case !is.Spec.Versions[at].Storage:
		f = warning("", "use the aether of the version that is installed", "stores another version than %s: it is of a newer Aether", version)
	case !slices.Contains(is.Status.StoredVersions, version) || len(is.Status.StoredVersions) > 1:
		f = warning("", "write every object again, then take the old version out of the CRD's status.storedVersions",
			"objects may be stored as %s", strings.Join(is.Status.StoredVersions, ", "))
	default:
		return nil
	}
	return &f
}

func condition(is *apiextensionsv1.CustomResourceDefinition, kind apiextensionsv1.CustomResourceDefinitionConditionType) apiextensionsv1.CustomResourceDefinitionCondition {
	for _, c := range is.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return apiextensionsv1.CustomResourceDefinitionCondition{Message: "the API server has not looked at it yet"}
}

func (c *cluster) checkSchemas(context.Context) []Finding {
	wanted, err := ours()
	if err != nil {
		return one(failed("", "", "%v", err))
	}
	have, err := c.definitions()
	if err != nil {
		return one(c.unread(err, readCRDs))
	}
	if len(have) == 0 {
		return one(unchecked("there is none"))
	}
	var found []Finding
	for _, d := range wanted {
		is, there := have[d.Name]
		if !there {
			continue // told by crds-served
		}
		differences, err := compareCRDs(d.CustomResourceDefinition, is)
		if err != nil {
			return one(failed(crdObject(d.Name), "", "cannot compare it: %v", err))
		}
		if len(differences) > 0 {
			found = append(found, aged(differences, d.file).about(crdObject(d.Name)))
		}
	}
	if len(found) > 0 {
		return found
	}
	return one(ok("%d are those of this program", len(have)))
}

// aged says whether the cluster's CRD is older or newer, by which of the two has fields
// that the other lacks.
func aged(differences []difference, file string) Finding {
	first, rest := fieldOf(differences[0].path), ""
	if n := len(differences) - 1; n > 0 {
		rest = " and " + count(n, "other place")
	}
	is := func(kind differenceKind) bool {
		return !slices.ContainsFunc(differences, func(d difference) bool { return d.kind != kind })
	}
	switch {
	case is(lacking):
		return warning("", applyCRD(file), "is older than this program: it lacks %s%s", first, rest)
	case is(beyond):
		return warning("", "use the aether of the version that is installed; if this one is to be installed: "+applyCRD(file),
			"is newer than this program: it has %s%s", first, rest)
	default:
		return warning("", "install the version of this program: "+applyCRD(file)+"; or use the aether of the version that is installed",
			"is not of this program's version: it differs at %s%s", first, rest)
	}
}

// fieldOf writes a path in a CRD as a person would write the field, where it is one.
func fieldOf(path string) string {
	_, field, in := strings.Cut(path, ".schema.openAPIV3Schema.")
	if !in {
		return path
	}
	return strings.ReplaceAll(strings.ReplaceAll("."+field, ".properties.", "."), ".items", "[]")[1:]
}

// compareCRDs compares specs, after the defaults that the API server fills in.
func compareCRDs(want, have *apiextensionsv1.CustomResourceDefinition) ([]difference, error) {
	var sides [2]any
	for i, d := range []*apiextensionsv1.CustomResourceDefinition{want, have} {
		d = d.DeepCopy()
		apiextensionsv1.SetDefaults_CustomResourceDefinition(d)
		u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&d.Spec)
		if err != nil {
			return nil, err
		}
		sides[i] = withoutDescriptions(u)
	}
	return compare(sides[0], sides[1], nil), nil
}
