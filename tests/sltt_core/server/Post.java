import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Sends POST and GET requests as Java's HttpClient does by default: the first on a connection offers HTTP/2. */
class Post {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        URI uri = URI.create(arguments[0] + "/api/changes");
        for (int at = 1; at < arguments.length; at++) {
            HttpRequest.BodyPublisher known = HttpRequest.BodyPublishers.ofString(arguments[at]);
            HttpRequest.BodyPublisher chunked = HttpRequest.BodyPublishers.fromPublisher(known);
            for (HttpRequest.BodyPublisher body : new HttpRequest.BodyPublisher[] {known, chunked}) {
                HttpRequest post = HttpRequest.newBuilder(uri)
                    .header("Content-Type", "application/json").POST(body).build();
                HttpResponse<String> response = HttpClient.newHttpClient().send(post, HttpResponse.BodyHandlers.ofString());
                System.out.println("POST " + response.version() + " " + response.statusCode());
                response = client.send(post, HttpResponse.BodyHandlers.ofString());
                System.out.println("POST again " + response.version() + " " + response.statusCode());
            }
        }
        HttpRequest get = HttpRequest.newBuilder(URI.create(arguments[0] + "/api/projects/p/changes")).build();
        HttpResponse<String> response = client.send(get, HttpResponse.BodyHandlers.ofString());
        System.out.println("GET " + response.version() + " " + response.statusCode());
    }
}
