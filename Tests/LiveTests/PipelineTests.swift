// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

extension LiveTests {
    /// Connections that move while requests wait on them.
    @Suite(.timeLimit(.minutes(5)))
    struct PipelineTests {
        @Test
        func `Two hundred requests behind a slow one are answered in order, and what is cut off is kept`() async throws
        {
            try await Demo.with { demo in
                let connection = try demo.connect()
                let requests = (0..<200).map { $0 % 2 == 0 ? Request.get : Request.post("number \($0)") }
                let (half, rest) = Request.post("the last").cut(at: 20)
                try connection.send(Request.get("/delay/1s") + requests.joined() + half)
                let upgrade = try demo.startUpgrade()
                try demo.end(upgrade)
                let either = try demo.either(upgrade)
                try connection.expect(from: either)
                for number in 0..<200 {
                    if number % 2 == 0 {
                        try connection.expect(from: either)
                    } else {
                        try connection.expect("number \(number)")
                    }
                }
                try connection.send(rest)
                try connection.expect("the last")
                try connection.ask(demo.process)
            }
        }

        /// A client that writes as fast as it can; what nobody has read yet is in four places at least.
        @Test
        func `Requests that nobody has read yet move with their connections`() async throws {
            try await Demo.with { demo in
                let connections = try demo.connect(10)
                let requests = (0..<200).map { Request.post("\($0)") }.joined()
                let upgrade = try demo.startUpgrade()
                for connection in connections { try connection.send(Request.get("/delay/100ms") + requests) }
                for connection in connections {
                    try connection.expect(from: demo.either(upgrade))
                    for number in 0..<200 { try connection.expect("\(number)") }
                }
                try demo.end(upgrade)
                for connection in connections { try connection.ask(demo.process) }
            }
        }

        @Test
        func `A bad request behind good ones is refused after they have been answered`() async throws {
            try await Demo.with { demo in
                let connections = try demo.connect(20)
                for connection in connections {
                    try connection.send(Request.get("/delay/300ms") + Request.post("good"))
                }
                let upgrade = try demo.startUpgrade()
                for connection in connections { try connection.send("N0T A REQUEST\r\n\r\n") }
                for connection in connections {
                    try connection.expect(from: demo.either(upgrade))
                    try connection.expect("good")
                    let head = try connection.answerHead()
                    try require(head.status == 400 && head.saysClose, "\(head)")
                    _ = try connection.bytes(head.length())
                    try connection.expectEnd()
                }
                try demo.end(upgrade)
            }
        }
    }
}
