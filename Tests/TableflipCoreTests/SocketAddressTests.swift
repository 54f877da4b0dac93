// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import Testing

@Suite struct SocketAddressTests {
    @Test(
        arguments: [
            (.tcp(host: "127.0.0.1", port: 8080), "tcp://127.0.0.1:8080"),
            (.tcp(host: "::1", port: 0), "tcp://[::1]:0"),
            (.tcp(host: "fe80::1%eth0", port: 65535), "tcp://[fe80::1%eth0]:65535"),
            (.tcp(host: "", port: 80), "tcp://:80"),
            (.tcp(host: "localhost", port: 443), "tcp://localhost:443"),
            (.udp(host: "0.0.0.0", port: 53), "udp://0.0.0.0:53"),
            (.udp(host: "::", port: 53), "udp://[::]:53"),
            (.unix(path: "/run/x.sock"), "unix:/run/x.sock"),
            (.unix(path: "x"), "unix:x"),
            (.unix(path: "/a b:c/ü"), "unix:/a b:c/ü"),
        ] as [(SocketAddress, String)]
    )
    func `an address is written in words and read again`(_ address: SocketAddress, _ words: String) {
        #expect(address.description == words)
        #expect(SocketAddress(words) == address)
    }

    @Test(
        arguments: [
            "", ":", "8080", "127.0.0.1:80", "tcp", "tcp:", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:",
            "tcp://127.0.0.1:65536", "tcp://127.0.0.1:-1", "tcp://127.0.0.1:http", "tcp://127.0.0.1: 80",
            "tcp://::1:80", "tcp://[::1]", "tcp://[::1]80", "tcp://[::1:80", "tcp://::1]:80", "TCP://127.0.0.1:80",
            "udp:127.0.0.1:53", "http://127.0.0.1:80", "unix:", "unix", "Unix:/x", " tcp://127.0.0.1:80",
        ]
    )
    func `words that are no address are refused`(_ words: String) {
        #expect(SocketAddress(words) == nil)
    }

    @Test func `a port is written in digits only`() {
        #expect(SocketAddress("tcp://127.0.0.1:+80") == nil)
    }

    @Test func `the kind of socket is part of the address`() {
        #expect(SocketAddress.tcp(host: "::1", port: 53) != .udp(host: "::1", port: 53))
        #expect(SocketAddress.tcp(host: "::1", port: 53).isStream)
        #expect(SocketAddress.unix(path: "/x").isStream)
        #expect(!SocketAddress.udp(host: "::1", port: 53).isStream)
    }
}
