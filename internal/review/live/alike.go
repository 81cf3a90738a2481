package live

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aetherplatform/aether/internal/review"
)

// everyObject is how many objects of a fleet are each asked about. A dry-run takes an
// API server some milliseconds, so that a hundred thousand would keep it busy for
// minutes, and nearly all are as they should be.
//
// Of a larger fleet, an object is not asked about where all that is rendered is in it
// as it is rendered, and what is in it beside is what another object of its kind has
// beside, owned by the same, of which the API server has said that it would stay.
// What is changed, missing, added to or taken over by someone is asked about as ever.
// What is not found out is whether a policy would now refuse what is as it should be:
// a finding says so.
const everyObject = 5_000

// class is objects for which the API server does the same, given that all that is
// rendered of them is there.
type class struct {
	schema.GroupVersionKind
	// beside is what is not rendered, and which fields have which owners.
	beside [sha256.Size]byte
}

// owners is a digest of who owns which fields of an object.
type owners [sha256.Size]byte

// takeOwners takes the owners of fields out of an object, of which they are the
// larger part. Those of its status do not count.
func takeOwners(o *unstructured.Unstructured) owners {
	metadata, _ := o.Object["metadata"].(map[string]any)
	entries, _ := metadata["managedFields"].([]any)
	delete(metadata, "managedFields")
	var lines []string
	for _, e := range entries {
		entry, _ := e.(map[string]any)
		if subresource, _ := entry["subresource"].(string); subresource == "status" {
			continue
		}
		fields, err := json.Marshal(entry["fieldsV1"])
		if err != nil {
			continue // it was JSON
		}
		lines = append(lines, fmt.Sprintf("%v %v %v %s", entry["manager"], entry["operation"], entry["subresource"], fields))
	}
	slices.Sort(lines)
	return sha256.Sum256([]byte(strings.Join(lines, "\n")))
}

// classOf is the class of an object, if all that is wanted of it is there.
func (c *cluster) classOf(want, live *unstructured.Unstructured) (class, bool) {
	by, known := c.owners[idOf(live)]
	if !known {
		return class{}, false
	}
	h := sha256.New()
	h.Write(by[:])
	if !within(h, "", content(want), content(live)) {
		return class{}, false
	}
	out := class{GroupVersionKind: want.GroupVersionKind()}
	h.Sum(out.beside[:0])
	return out, true
}

// within is whether what is wanted is there, and notes what is there beside.
func within(beside hash.Hash, at string, want, have any) bool {
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		if !ok {
			return false
		}
		for _, key := range sortedKeys(want) {
			value, there := have[key]
			if !there || !within(beside, at+"\x00"+key, want[key], value) {
				return false
			}
		}
		if len(have) == len(want) {
			return true
		}
		for _, key := range sortedKeys(have) {
			if _, wanted := want[key]; wanted {
				continue
			}
			value, err := json.Marshal(have[key])
			if err != nil {
				return false
			}
			fmt.Fprintf(beside, "%q %s\n", at+"\x00"+key, value)
		}
		return true
	case []any:
		have, ok := have.([]any)
		if !ok || len(have) != len(want) {
			return false
		}
		for i := range want {
			if !within(beside, fmt.Sprintf("%s\x00%d", at, i), want[i], have[i]) {
				return false
			}
		}
		return true
	default:
		return reflect.DeepEqual(want, have)
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// asItIs stands for the digest of an object that is as it should be, of which
// nothing else is kept.
const asItIs = "as it is"

// settle notes that an object of head is as it should be.
func (c *cluster) settle(o *review.Rendered) {
	o.Content, o.Digest = nil, asItIs
}

// settles is whether an object is as it should be, by another of its class. The first
// of a class is asked about.
func (c *cluster) settles(ctx context.Context, o *review.Rendered, live *unstructured.Unstructured) (bool, error) {
	asked := (&unstructured.Unstructured{Object: o.Content}).DeepCopy()
	if !c.takes(asked.GetNamespace()) {
		return false, nil
	}
	c.inscribe(asked, live, o.Tenant)
	of, fits := c.classOf(asked, live)
	if !fits {
		return false, nil
	}
	stays, known := c.stays(of)
	if !known {
		answer, err := c.appliers[isAsked(o)].DryRun(ctx, asked)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		stays = err == nil && digestOf(content(answer)) == digestOf(content(live))
		c.learn(of, stays)
		return false, nil // it is asked about again in its turn, where an error is told
	}
	if stays {
		c.settle(o)
	}
	return stays, nil
}

// stays is what the API server has said of a class.
func (c *cluster) stays(of class) (stays, known bool) {
	c.classesMu.Lock()
	defer c.classesMu.Unlock()
	stays, known = c.classes[of]
	return stays, known
}

func (c *cluster) learn(of class, stays bool) {
	c.classesMu.Lock()
	defer c.classesMu.Unlock()
	c.classes[of] = stays
}

// taken says that not all objects were asked about.
func (c *cluster) taken(report *review.Report) {
	if n := c.settled.Load(); n > 0 {
		report.Findings = append(report.Findings, review.Finding{
			Risk: review.Info, Category: NotCompared,
			Title: fmt.Sprintf("%d objects are as they should be, as others are that the API server was asked about: whether a policy would refuse them now is not known", n),
		})
	}
}
