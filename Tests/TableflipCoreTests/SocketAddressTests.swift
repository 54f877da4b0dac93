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
            (.tcp(host: "127.0.0.1", port: 80, family: .v4), "tcp4://127.0.0.1:80"),
            (.tcp(host: "", port: 80, family: .v6), "tcp6://:80"),
            (.udp(host: "::1", port: 53, family: .v6), "udp6://[::1]:53"),
            (.udp(host: "", port: 53, family: .v4), "udp4://:53"),
            (.unix(path: "/run/x.sock"), "unix:/run/x.sock"),
            (.unix(path: "/run/x", kind: .datagram), "unixgram:/run/x"),
            (.unix(path: "/run/x", kind: .seqpacket), "unixpacket:/run/x"),
            (.unix(path: "@x"), "unix:./@x"),
            (.abstract(name: "x"), "unix:@x"),
            (.abstract(name: "@x:y", kind: .datagram), "unixgram:@@x:y"),
            (.abstract(name: "x", kind: .seqpacket), "unixpacket:@x"),
            (.vsock(port: 4_000_000_000), "vsock://any:4000000000"),
            (.vsock(contextID: 2, port: 1024), "vsock://2:1024"),
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
            "tcp5://127.0.0.1:80", "tcp44://127.0.0.1:80", "unix:@", "unixgram:", "unixdgram:/x", "unix4:/x",
            "vsock://:80", "vsock://x:80", "vsock://+2:80", "vsock://4294967296:80", "vsock://2:4294967296",
            "vsock://2",
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
        #expect(SocketAddress.tcp(host: "::1", port: 53) != .tcp(host: "::1", port: 53, family: .v6))
        #expect(SocketAddress.unix(path: "/x") != .unix(path: "/x", kind: .seqpacket))
        for listener: SocketAddress in [
            .tcp(host: "::1", port: 53), .unix(path: "/x"), .unix(path: "/x", kind: .seqpacket), .abstract(name: "x"),
            .vsock(port: 1),
        ] { #expect(listener.descriptorKind == .listener) }
        for datagrams: SocketAddress in [
            .udp(host: "::1", port: 53), .unix(path: "/x", kind: .datagram), .abstract(name: "x", kind: .datagram),
        ] { #expect(datagrams.descriptorKind == .datagram) }
    }
}
