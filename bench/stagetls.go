package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
)

// tlsConfigs returns both ends' settings for TLS 1.3, from the peers' certificates.
func (l *lab) tlsConfigs() (server, client *tls.Config, err error) {
	pem, err := os.ReadFile(filepath.Join(l.Certs, "ca-cert.pem"))
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, nil, errors.New("ca-cert.pem holds no certificate")
	}
	pair := func(name string) []tls.Certificate {
		c, failed := tls.LoadX509KeyPair(filepath.Join(l.Certs, name+"-cert.pem"), filepath.Join(l.Certs, name+"-key.pem"))
		err = errors.Join(err, failed)
		return []tls.Certificate{c}
	}
	server = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: pair("server"), ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}
	client = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: pair("client"), RootCAs: roots, ServerName: "localhost"}
	return server, client, err
}
