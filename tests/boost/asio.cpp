// An echo server in Asio: many system headers, many feature tests.
#include <array>
#include <boost/asio.hpp>
#include <boost/asio/spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>

using boost::asio::ip::tcp;

struct Session : std::enable_shared_from_this<Session> {
    explicit Session(tcp::socket peer) : socket(std::move(peer)) {}
    void read() {
        auto self = shared_from_this();
        socket.async_read_some(boost::asio::buffer(data), [this, self](boost::system::error_code error, std::size_t length) {
            if (!error) write(length);
        });
    }
    void write(std::size_t length) {
        auto self = shared_from_this();
        boost::asio::async_write(socket, boost::asio::buffer(data, length), [this, self](boost::system::error_code error, std::size_t) {
            if (!error) read();
        });
    }
    tcp::socket socket;
    std::array<char, 1024> data;
};
