package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// streams opens watches and reads them with two passes over each event, where
// client-go takes seven: at ten thousand namespaces that is most of what a start
// costs.
type streams struct {
	client rest.Interface
	params runtime.ParameterCodec
}

func newStreams(config *rest.Config) (*streams, error) {
	config = dynamic.ConfigFor(config)
	config.GroupVersion = &schema.GroupVersion{}
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.SchemeGroupVersion)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return &streams{client, runtime.NewParameterCodec(scheme)}, nil
}

// open watches all objects of a resource, in all namespaces.
func (s *streams) open(ctx context.Context, r schema.GroupVersionResource, opts metav1.ListOptions) (watch.Interface, error) {
	opts.Watch = true
	path := []string{"apis", r.Group, r.Version, r.Resource}
	if r.Group == "" {
		path = []string{"api", r.Version, r.Resource}
	}
	body, err := s.client.Get().AbsPath(path...).
		SpecificallyVersionedParams(&opts, s.params, schema.GroupVersion{Version: "v1"}).
		Stream(ctx)
	if err != nil {
		return nil, err
	}
	in := json.NewDecoder(body)
	in.UseNumber()
	return watch.NewStreamWatcher(&stream{body, in}, apierrors.NewClientErrorReporter(500, "GET", "ClientWatchDecoding")), nil
}

// stream is the body of a watch. It implements watch.Decoder.
type stream struct {
	body io.ReadCloser
	in   *json.Decoder
}

func (s *stream) Close() { _ = s.body.Close() }

func (s *stream) Decode() (watch.EventType, runtime.Object, error) {
	var event struct {
		Type   watch.EventType `json:"type"`
		Object map[string]any  `json:"object"`
	}
	if err := s.in.Decode(&event); err != nil {
		return "", nil, err
	}
	numbers(event.Object)
	return event.Type, &unstructured.Unstructured{Object: event.Object}, nil
}

// numbers makes integers and floats of what was read as text, as client-go does
// for the answers to writes: both must hash alike.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			switch value.(type) {
			case map[string]any, []any, json.Number:
				v[key] = numbers(value)
			}
		}
	case []any:
		for i, value := range v {
			v[i] = numbers(value)
		}
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
	}
	return v
}
