// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

extension LiveTests {
    /// Connections that move while a request's head is not whole yet.
    @Suite(.timeLimit(.minutes(5)))
    struct HeadTests {
        @Test(arguments: ["", "\r\n"])
        func `A head that is cut at any byte is answered by the process that gets its end`(before: String) async throws
        {
            try await Demo.with { demo in
                let request = before + Request.get
                let cuts = 0..<request.utf8.count
                let (fresh, used) = (try demo.connect(cuts.count), try demo.connect(cuts.count))
                for connection in used { try connection.ask(demo.process) }
                for (cut, pair) in zip(cuts, zip(fresh, used)) {
                    for connection in [pair.0, pair.1] { try connection.send(request.cut(at: cut).0) }
                }
                try demo.upgrade()
                for (cut, pair) in zip(cuts, zip(fresh, used)) {
                    for connection in [pair.0, pair.1] { try connection.send(request.cut(at: cut).1) }
                }
                for connection in fresh + used {
                    try connection.expect(from: [demo.process])
                    try connection.ask(demo.process)
                }
            }
        }

        @Test
        func `A head that comes in three pieces goes through two upgrades`() async throws {
            try await Demo.with { demo in
                let connections = try demo.connect(30)
                let request = Request.get("/", "X-Padding: \(String(repeating: "p", count: 300))")
                for (place, connection) in connections.enumerated() { try connection.send(request.cut(at: place).0) }
                try demo.upgrade()
                for (place, connection) in connections.enumerated() {
                    try connection.send(request.cut(at: place + 200).0.cut(at: place).1)
                }
                try demo.upgrade()
                for (place, connection) in connections.enumerated() {
                    try connection.send(request.cut(at: place + 200).1)
                }
                for connection in connections {
                    try connection.expect(from: [demo.process])
                    try connection.ask(demo.process)
                }
            }
        }

        /// Where a server may not want to keep a head back until it is whole.
        @Test(arguments: [3, 20_000, 40_000])
        func `A head of 48 kB is answered, wherever it is cut`(cut: Int) async throws {
            try await Demo.with { demo in
                let padding = (0..<60).map { "X-Padding-\($0): \(String(repeating: "p", count: 800))\r\n" }.joined()
                let request = "GET / HTTP/1.1\r\nHost: a\r\n" + padding + "\r\n"
                let connection = try demo.connect()
                try connection.send(request.cut(at: cut).0)
                let upgrade = try demo.startUpgrade()
                try demo.commit(upgrade)
                try connection.send(request.cut(at: cut).1)
                try connection.expect(from: demo.either(upgrade))
                try demo.end(upgrade)
                try connection.ask(demo.process)
            }
        }
    }
}
