// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

extension LiveTests {
    /// Connections that must not move before a request's body has come and its answer has gone.
    @Suite(.timeLimit(.minutes(5)))
    struct BodyTests {
        /// Sends each request in two pieces, one connection for each place to cut it, with the old process already replaced
        /// when the second piece goes; then the connections move.
        private static func cutEverywhere(_ request: String, _ body: String, from first: Int) async throws {
            try await Demo.with { demo in
                let cuts = first...request.utf8.count
                let connections = try demo.connect(cuts.count)
                for (cut, connection) in zip(cuts, connections) { try connection.send(request.cut(at: cut).0) }
                let upgrade = try demo.startUpgrade()
                try demo.commit(upgrade)
                for (cut, connection) in zip(cuts, connections) { try connection.send(request.cut(at: cut).1) }
                for connection in connections { try connection.expect(body) }
                try demo.end(upgrade)
                for connection in connections { try connection.ask(demo.process) }
            }
        }

        /// The place of the last line of the head: cuts before it are another suite's.
        private static func endOfHead(_ request: String) throws -> Int {
            guard let range = request.firstRange(of: "\r\n\r\n") else { throw Unexpected("no head") }
            return request.utf8.distance(from: request.startIndex, to: range.lowerBound)
        }

        @Test
        func `A body that is cut at any byte comes back whole`() async throws {
            let body = "one\r\n\r\nGET / HTTP/1.1\r\n\r\ntwo"
            let request = Request.post(body)
            try await Self.cutEverywhere(request, body, from: Self.endOfHead(request))
        }

        @Test
        func `A body in chunks that are full of empty lines comes back whole, wherever it is cut`() async throws {
            let chunks = ["\r\n\r\n", "0\r\n\r\n", "\n\n\r", "GET / HTTP/1.1\r\n\r\n", "x"]
            let request = Request.post(chunks: chunks)
            try await Self.cutEverywhere(request, chunks.joined(), from: Self.endOfHead(request))
        }

        @Test
        func `Trailers may be cut anywhere`() async throws {
            let request = Request.post(chunks: ["\r\n\r\n", "end"], trailers: "X-One: 1", "X-Two:")
            try await Self.cutEverywhere(request, "\r\n\r\nend", from: Self.endOfHead(request))
        }

        @Test
        func `A client that waits for 100 Continue is answered once, and its connection moves`() async throws {
            try await Demo.with { demo in
                let connections = try demo.connect(20)
                let request = Request.post("the body", "Expect: 100-continue")
                let head = try request.cut(at: Self.endOfHead(request) + 4)
                for connection in connections { try connection.send(head.0) }
                let upgrade = try demo.startUpgrade()
                try demo.commit(upgrade)
                for connection in connections {
                    // It does not have to be said; whoever waits for it goes on in the end (RFC 9110, 10.1.1).
                    try connection.send(head.1)
                    try connection.expect("the body")
                }
                try demo.end(upgrade)
                for connection in connections { try connection.ask(demo.process) }
            }
        }

        /// The download's pace is the server's, the upload's is the download's.
        @Test
        func `A download and an upload of three seconds finish across an upgrade, and then move`() async throws {
            try await Demo.with { demo in
                let (download, upload) = (try demo.connect(), try demo.connect())
                let parts = 60
                let part = String(repeating: "0123456789abcdef", count: 1024)
                try download.send(Request.get("/bytes/\(parts * 16384)?over=3s"))
                let head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: \(parts * part.utf8.count)\r\n\r\n"
                try upload.send(head + part)
                let upgrade = try demo.startUpgrade()
                try demo.commit(upgrade)

                let (downloadHead, uploadHead) = (try download.answerHead(), try upload.answerHead())
                try require(downloadHead.isChunked && downloadHead.status == 200, "\(downloadHead)")
                try require(
                    try uploadHead.length() == parts * part.utf8.count && uploadHead.status == 200, "\(uploadHead)")
                var (downloaded, uploads) = (0, 1)
                let expected = Array(part.utf8)
                while let chunk = try download.chunk() {
                    try require(chunk.allSatisfy { $0 == UInt8(ascii: "x") }, "not what was to be downloaded")
                    downloaded += chunk.count
                    try require(try upload.bytes(part.utf8.count).elementsEqual(expected), "not what was uploaded")
                    if uploads < parts {
                        // Before the last part is sent: when that has been echoed, there is nothing to stay for.
                        let hasLeft = demo.events.all.contains { $0.phase == "predecessorLeft" }
                        try require(!hasLeft, "the old process left before it had finished")
                        try upload.send(part)
                    }
                    uploads += 1
                }
                try require(downloaded == parts * 16384, "downloaded \(downloaded)")
                // The download may have come in fewer pieces.
                while uploads <= parts {
                    try require(try upload.bytes(part.utf8.count).elementsEqual(expected), "not what was uploaded")
                    if uploads < parts { try upload.send(part) }
                    uploads += 1
                }
                try demo.end(upgrade)
                for connection in [download, upload] { try connection.ask(demo.process) }
            }
        }

        @Test
        func `A client that reads 8 MB slowly gets all of it, and its connection moves`() async throws {
            try await Demo.with { demo in
                let slow = try demo.connect()
                let size = 8 << 20
                try slow.send(Request.get("/bytes/\(size)") + Request.get)
                let upgrade = try demo.startUpgrade()
                try demo.commit(upgrade)
                // Others move meanwhile.
                let others = try demo.connect(10)
                for other in others { try other.ask(demo.process) }
                let answer = try slow.answer()
                try require(answer.status == 200 && answer.body.count == size, "\(answer.status) \(answer.body.count)")
                try require(answer.body == Array(repeating: UInt8(ascii: "x"), count: size), "not what was to be sent")
                try slow.expect(from: demo.either(upgrade))
                try demo.end(upgrade)
                try slow.ask(demo.process)
            }
        }
    }
}
