// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Foundation
import Testing

extension LiveTests {
    /// Connections that end while they could move.
    @Suite(.timeLimit(.minutes(5)))
    struct EndTests {
        @Test
        func `A client that says that it has finished is answered, and then sees the end`() async throws {
            try await Demo.with { demo in
                let connections = try demo.connect(20)
                for connection in connections {
                    try connection.send(Request.get("/delay/500ms") + Request.get + Request.post("last"))
                    try connection.finishSending()
                }
                let upgrade = try demo.startUpgrade()
                try demo.commit(upgrade)
                for connection in connections {
                    try connection.expect(from: demo.either(upgrade))
                    try connection.expect(from: demo.either(upgrade))
                    try connection.expect("last")
                    try connection.expectEnd()
                }
                try demo.end(upgrade)
            }
        }

        /// The kernel tells of the end at once, also a process that does not want to read.
        @Test
        func `A request with the end right behind it is answered, whichever process reads it`() async throws {
            try await Demo.with { demo in
                for round in 0..<6 {
                    let connections = try demo.connect(150)
                    if round % 2 == 0 { for connection in connections { try connection.ask(demo.process) } }
                    let upgrade = try demo.startUpgrade()
                    if round < 4 { try demo.event("owner", of: demo.commit(upgrade)) }
                    for connection in connections {
                        try connection.send(Request.get)
                        try connection.finishSending()
                    }
                    for connection in connections {
                        try connection.expect(from: demo.either(upgrade))
                        try connection.expectEnd()
                    }
                    try demo.end(upgrade)
                }
            }
        }

        @Test
        func `Whoever asks for the end gets the answer and the end`() async throws {
            try await Demo.with { demo in
                let request = Request.get("/delay/500ms", "Connection: close")
                let (closing, old, kept) = (try demo.connect(10), try demo.connect(10), try demo.connect(10))
                for connection in closing { try connection.send(request) }
                for connection in old { try connection.send("GET /delay/500ms HTTP/1.0\r\n\r\n") }
                for connection in kept {
                    try connection.send("GET /delay/500ms HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                }
                let upgrade = try demo.startUpgrade()
                try demo.commit(upgrade)
                let late = try demo.connect(10)
                for connection in late { try connection.send(request) }
                for connection in closing + late {
                    try connection.expect(from: demo.either(upgrade), saysClose: true)
                    try connection.expectEnd()
                }
                for connection in old {
                    try connection.expect(from: demo.either(upgrade), saysClose: true, version: "HTTP/1.0")
                    try connection.expectEnd()
                }
                for connection in kept {
                    try connection.expect(from: demo.either(upgrade), version: "HTTP/1.0")
                    try connection.ask(demo.process)
                }
                try demo.end(upgrade)
                for connection in kept { try connection.ask(demo.process) }
            }
        }

        /// They read when a connection whose peer has heard all would have been closed.
        @Test(arguments: [false, true])
        func `Whoever asks for the end and reads slowly gets all of it`(isStop: Bool) async throws {
            try await Demo.with { demo in
                let body = String(repeating: "0123456789abcdef", count: 1 << 20)
                let slow = try demo.connect(2)
                for connection in slow { try connection.send(Request.post(body, "Connection: close")) }
                let clock = try demo.connect()
                if isStop {
                    try clock.send(Request.get("/delay/4s"))
                    // It has been accepted, and asked.
                    try demo.connect().ask(demo.process)
                    try demo.startStop()
                } else {
                    try demo.event("owner", of: demo.commit(demo.startUpgrade()))
                    try clock.send(Request.get("/delay/4s"))
                }
                try slow[1].finishSending()
                try require(try clock.answer().status == 200, "the time is not over")
                for connection in slow {
                    let answer = try connection.answer()
                    try require(answer.saysClose && answer.text == body, "\(answer.body.count) bytes came back")
                    try connection.expectEnd()
                }
            }
        }

        @Test
        func `Clients that leave or reset while connections move take nobody with them`() async throws {
            try await Demo.with { demo in
                // The first generation has one more: it has bound.
                try demo.upgrade()
                let before = try demo.sockets()
                var staying: [Connection] = []
                for round in 0..<3 {
                    let connections = try demo.connect(150)
                    if round > 0 { for connection in connections { try connection.ask(demo.process) } }
                    let upgrade = try demo.startUpgrade()
                    if round > 1 { try demo.event("owner", of: demo.commit(upgrade)) }
                    for (number, connection) in connections.enumerated() {
                        switch number % 3 {
                        case 0: connection.reset()
                        case 1: connection.close()
                        default: staying.append(connection)
                        }
                    }
                    try demo.end(upgrade)
                    for connection in staying { try connection.ask(demo.process) }
                }
                // Each answer is an occasion to have seen the end of those that have left.
                let wanted = before + staying.count
                let deadline = Date(timeIntervalSinceNow: 60)
                while case let left = try demo.sockets(), left != wanted {
                    try require(Date() < deadline, "\(left) sockets instead of \(wanted)")
                    try staying[0].ask(demo.process)
                }
            }
        }
    }
}

extension Demo {
    /// How many sockets the process in charge has; where there is no /proc, always as many as are wanted.
    fileprivate func sockets() throws -> Int {
        #if os(Linux)
        let folder = "/proc/\(self.process)/fd"
        return try FileManager.default.contentsOfDirectory(atPath: folder)
            .count {
                (try? FileManager.default.destinationOfSymbolicLink(atPath: folder + "/" + $0))?
                    .hasPrefix("socket:") == true
            }
        #else
        return 0
        #endif
    }
}
