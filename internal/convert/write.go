package convert

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/aetherplatform/aether/api/v1alpha1"
)

// order of fields, as a person writes them; others follow by name.
var order = []string{"apiVersion", "kind", "metadata", "spec", "name", "namespace", "secretName", "path", "version", "type", "keys", "template", "labels", "generate"}

// Entries writes the Secrets as spec.secrets, a document for each namespace, with what
// is not carried over as comments.
func (r *Result) Entries(w io.Writer) error {
	var docs []*yaml.Node
	for begin := 0; begin < len(r.Secrets); {
		namespace := r.Secrets[begin].Namespace
		list := &yaml.Node{Kind: yaml.SequenceNode}
		end := begin
		for ; end < len(r.Secrets) && r.Secrets[end].Namespace == namespace; end++ {
			s := r.Secrets[end]
			node, err := nodeOf(s.NamespaceSecret)
			if err != nil {
				return err
			}
			node.HeadComment = s.comment()
			list.Content = append(list.Content, node)
		}
		doc := mapping("spec", mapping("secrets", list))
		doc.HeadComment = "# For TenantNamespace " + cmp.Or(namespace, "(the manifests name no namespace)") + ":"
		docs = append(docs, doc)
		begin = end
	}
	return r.write(w, docs)
}

// SecretSyncs writes the Secrets as objects for an application repository.
func (r *Result) SecretSyncs(w io.Writer) error {
	var docs []*yaml.Node
	for _, s := range r.Secrets {
		sync := struct {
			metav1.TypeMeta `json:",inline"`
			Metadata        map[string]string       `json:"metadata"`
			Spec            v1alpha1.SecretSyncSpec `json:"spec"`
		}{
			TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: v1alpha1.KindSecretSync},
			Metadata: map[string]string{"name": s.SyncName},
			Spec:     v1alpha1.SecretSyncSpec{SecretSource: s.SecretSource},
		}
		if s.Namespace != "" {
			sync.Metadata["namespace"] = s.Namespace
		}
		if s.Name != s.SyncName {
			sync.Spec.SecretName = s.Name
		}
		node, err := nodeOf(sync)
		if err != nil {
			return err
		}
		node.HeadComment = s.comment()
		docs = append(docs, node)
	}
	return r.write(w, docs)
}

// comment is where a Secret comes from, and what of it is not carried over.
func (s *Secret) comment() string {
	lines := []string{fmt.Sprintf("From %s, %s:%d", s.From, s.File, s.Line)}
	lines = append(lines, s.Notes...)
	for _, p := range sortedProblems(s.Problems) {
		lines = append(lines, "NOT CARRIED OVER: "+p.String())
	}
	return comment(lines)
}

func comment(lines []string) string {
	var out []string
	for _, line := range lines {
		out = append(out, "# "+line)
	}
	return strings.Join(out, "\n")
}

func (r *Result) write(w io.Writer, docs []*yaml.Node) error {
	head := slices.Clone(r.Notes)
	for _, p := range sortedProblems(r.Others) {
		head = append(head, "NOT CARRIED OVER: "+p.String())
	}
	if len(head) > 0 {
		if _, err := fmt.Fprintf(w, "%s\n", comment(head)); err != nil {
			return err
		}
		if len(docs) > 0 {
			if _, err := fmt.Fprintln(w, "---"); err != nil {
				return err
			}
		}
	}
	if len(docs) == 0 {
		return nil
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	encoder.CompactSeqIndent()
	for _, doc := range docs {
		if err := encoder.Encode(doc); err != nil {
			return fmt.Errorf("cannot write YAML: %w", err)
		}
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	_, err := w.Write(out.Bytes())
	return err
}

func mapping(key string, value *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: key}, value}}
}

// nodeOf is a value as YAML, its fields in the order in which people write them.
func nodeOf(value any) (*yaml.Node, error) {
	data, err := sigsyaml.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("cannot write YAML: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("cannot write YAML: %w", err)
	}
	root := doc.Content[0]
	sorted(root)
	for i := 0; i+1 < len(root.Content); i += 2 { // of a SecretSync
		if name := root.Content[i].Value; name == "metadata" || name == "spec" {
			sorted(root.Content[i+1])
		}
	}
	return root, nil
}

func sorted(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	pairs := slices.Collect(slices.Chunk(n.Content, 2))
	rank := func(pair []*yaml.Node) int {
		if i := slices.Index(order, pair[0].Value); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(pairs, func(a, b []*yaml.Node) int { return cmp.Compare(rank(a), rank(b)) })
	n.Content = slices.Concat(pairs...)
}
