package local

// Outside is what stands for the rest of the world where Pods run: hosts that the
// example fleet names, and some that nobody names. Something listens at each, and the
// cluster's DNS knows the names, so that what does not get there was stopped.
var Outside = map[string]string{
	"api.stripe.com":        "198.51.100.10:443",
	"registry.example.com":  "198.51.100.30:443",
	"smtp.mail.example.com": "198.51.100.40:587",
	"other.example":         "198.51.100.20:443",
	"elsewhere.example":     "203.0.113.20:443",
	"plain.example":         "203.0.113.20:80",
	"first.example":         "203.0.113.1:443", // of the network that the fleet names
	"beyond.example":        "203.0.114.0:443", // the first that is not of it
	"metadata.example":      "169.254.169.254:80",
	"metadata-tls.example":  "169.254.169.254:443",
}
